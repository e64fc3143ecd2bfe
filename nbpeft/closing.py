"""What a user reads when a run is over."""

from __future__ import annotations

from pathlib import Path

from nbpeft.errors import AdapterError
from nbpeft.events import Finished
from nbpeft.places import Outcome
from nbpeft.rendering import count, duration, nats, percent
from nbpeft.session.record import Record


def finished(record: Record, outcome: Outcome) -> Finished:
    """The closing table."""
    metrics = record.metrics
    rows = [("adapter", record.label + (" (stopped, partial)" if record.partial else ""))]
    if "held_out_loss" in metrics:
        before, after = metrics["held_out_loss_before"], metrics["held_out_loss"]
        rows.append(("held-out loss", f"{nats(before)} → {nats(after)}"))
    if "loss" in metrics:
        rows.append(("training loss", nats(metrics["loss"])))
    rows += [
        ("steps", f"{outcome.steps} of {outcome.steps_planned}"),
        ("time", duration(metrics["seconds"])),
        (
            "trained parameters",
            f"{count(record.trainable_parameters)} ({percent(record.trainable_percent)})",
        ),
        ("kept in", _where(record)),
        ("use it", f"%peft_attach {record.name}   ·   %peft_compare base {record.name}"),
    ]
    return Finished(record.label, outcome.stopped, tuple(rows))


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


def _where(record: Record) -> str:
    if record.path is None:
        return "this kernel only"
    try:
        return str(record.path.relative_to(Path.cwd()))
    except ValueError:
        return str(record.path)
