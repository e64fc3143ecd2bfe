"""What is kept of a run: the record that stands beside an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from nbpeft import __version__
from nbpeft.data import Rows
from nbpeft.places import Outcome
from nbpeft.prepare import Prepared
from nbpeft.session.record import Record


def record_of(ready: Prepared, outcome: Outcome) -> Record:
    """What stands beside the adapter on the shelf."""
    metrics = _metrics(outcome)
    if ready.resumed is not None:
        metrics["seconds"] += ready.resumed.metrics.get("seconds", 0.0)
    rows = ready.rows
    return Record(
        name=ready.request.name,
        version=ready.plan.version,
        method=ready.method.name,
        objective=ready.objective.name,
        model=ready.handle.fingerprint,
        trainable_parameters=ready.plan.trainable_parameters,
        total_parameters=ready.plan.total_parameters,
        metrics=metrics,
        losses=tuple(outcome.losses),
        held_out=tuple(outcome.held_out),
        request=ready.request.to_dict(),
        settings={"method": ready.settings.method, "trainer": ready.settings.trainer},
        data={
            "fingerprint": rows.fingerprint,
            "rendering": rows.rendering.to_dict(),
            "prompts": list(rows.sample_prompts),
        },
        findings=_findings(rows, outcome),
        parent=ready.parent.label if ready.parent else None,
        partial=outcome.stopped,
        state=ready.plan.state,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=library_versions(),
    )


def _findings(rows: Rows, outcome: Outcome) -> dict[str, Any]:
    """What the objective found, with the names of what it tells apart."""
    names = {"labels": list(rows.label_names)} if rows.label_names else {}
    return names | outcome.findings


def library_versions() -> dict[str, str]:
    """Of the libraries that decide what an adapter is."""
    return {name: version(name) for name in ("torch", "transformers", "peft", "trl")} | {
        "nbpeft": __version__
    }


def _metrics(outcome: Outcome) -> dict[str, float]:
    metrics: dict[str, float] = {
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 3),
        "peak_memory": outcome.peak_memory,
    }
    if outcome.losses:
        metrics["loss"] = _mean(outcome.losses[-_tenth(outcome.losses) :])
    if outcome.held_out:
        metrics["held_out_loss_before"] = outcome.held_out[0][1]
    if outcome.held_out[1:]:
        metrics["held_out_loss"] = outcome.held_out[-1][1]
    for name, points in outcome.figures.items():
        if points[1:]:
            metrics[f"{word(name)}_before"] = _mean(points[: _tenth(points)])
        metrics[word(name)] = _mean(points[-_tenth(points) :])
    for name, points in outcome.held_out_figures.items():
        metrics[f"held_out_{word(name)}_before"] = points[0][1]
        if points[1:]:
            metrics[f"held_out_{word(name)}"] = points[-1][1]
    return metrics


def word(name: str) -> str:
    """A measure's name as a metric's: 'reward margin' is `reward_margin`."""
    return name.replace(" ", "_")


def _tenth(points: Sequence[tuple[int, float]]) -> int:
    return max(1, len(points) // 10)


def _mean(points: Sequence[tuple[int, float]]) -> float:
    return sum(value for _, value in points) / len(points)
