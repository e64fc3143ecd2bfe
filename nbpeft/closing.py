"""What a user reads when a run is over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nbpeft.errors import AdapterError
from nbpeft.events import Finished
from nbpeft.objectives import Measure, Objective
from nbpeft.places import Outcome
from nbpeft.recording import word
from nbpeft.rendering import bytes_size, count, duration, figure, glimpse, nats, percent
from nbpeft.session.record import Record


def finished(record: Record, outcome: Outcome, objective: Objective) -> Finished:
    """The closing table, and what the objective shows beside it."""
    metrics, shown = record.metrics, objective.shown(record.findings, record.label)
    rows = [("adapter", record.label + (" (stopped, partial)" if record.partial else ""))]
    if "held_out_loss" in metrics:
        before, after = metrics["held_out_loss_before"], metrics["held_out_loss"]
        rows.append(("held-out loss", f"{nats(before)} → {nats(after)}"))
    rows += [row for measure in objective.measures for row in _measured(measure, metrics)]
    rows += shown.rows
    if "loss" in metrics:
        rows.append(("training loss", nats(metrics["loss"])))
    rows += _samples(outcome)
    rows += [
        ("steps", f"{outcome.steps} of {outcome.steps_planned}"),
        ("time", duration(metrics["seconds"])),
        *_speed(outcome),
        ("peak memory", f"{bytes_size(outcome.peak_memory)} ({_holder(outcome.device)})"),
        (
            "trained parameters",
            f"{count(record.trainable_parameters)} ({percent(record.trainable_percent)})",
        ),
        ("kept in", where(record)),
        ("use it", _use(record, objective)),
    ]
    return Finished(record.label, outcome.stopped, tuple(rows), shown.picture)


def _use(record: Record, objective: Objective) -> str:
    """What to type next: a model with a head gives scores, and writes no better for it."""
    if "causal logits" not in objective.gives:
        return f"%peft_score {record.name} --data X   ·   %%peft_score {record.name}, a text a line"
    beside = "base base+context" if record.request.get("context") else "base"
    return f"%peft_attach {record.name}   ·   %peft_compare {beside} {record.name}"


def _speed(outcome: Outcome) -> list[tuple[str, str]]:
    """None where no step read tokens: features were computed before."""
    speed = round(outcome.tokens_per_second)
    return [("speed", f"{count(speed)} tokens/s")] if speed else []


def _measured(measure: Measure, metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Before and after, over the held-out rows where they were read; else over the run's own."""
    key = word(measure.name)
    where, prefix = ("held-out ", "held_out_") if f"held_out_{key}" in metrics else ("", "")
    found = [metrics[k] for k in (f"{prefix}{key}_before", f"{prefix}{key}") if k in metrics]
    told = " → ".join(figure(value, share=measure.share) for value in found)
    return [(where + measure.name, told)] if told else []


def stopped(record: Record, outcome: Outcome) -> str:
    if not outcome.stopped:
        return f"{record.label} had just been finished and is kept."
    how = (
        f"finish it with --resume (%finetune {record.name} --resume)"
        if outcome.resume
        else f"it was broken off within a step: go on with --from {record.name}"
    )
    return (
        f"{record.label} was stopped after step {outcome.steps} of {outcome.steps_planned} and is "
        f"kept as it was then; {how}."
    )


def unsaved(record: Record, failure: Exception) -> AdapterError:
    reason = " ".join(str(failure).split()) or type(failure).__name__
    return AdapterError(
        f"{record.label} was trained but could not be written to the shelf: {reason}. It is in "
        f"this kernel as {record.name}; make room and type nbpeft.save('{record.name}')."
    )


def _samples(outcome: Outcome) -> list[tuple[str, str]]:
    """One prompt of the data and what it was answered before and after."""
    if not outcome.samples:
        return []
    first, last = outcome.samples[0], outcome.samples[-1]
    rows = [("sample prompt", glimpse(first.prompt))]
    # A resumed run began elsewhere.
    rows += [("answer before", glimpse(first.text))] if first.step == 0 else []
    if last.step:
        when = "after" if last.step == outcome.steps else f"at step {last.step}"
        rows.append((f"answer {when}", glimpse(last.text)))
    return rows


def _holder(device: str) -> str:
    """Whose memory it is: a GPU's, or all of this process's."""
    return device if device.startswith("cuda") else "this process"


def where(record: Record) -> str:
    """Its folder on the shelf, from the working folder where it lies below."""
    if record.path is None:
        return "this kernel only"
    try:
        return str(record.path.relative_to(Path.cwd()))
    except ValueError:
        return str(record.path)
