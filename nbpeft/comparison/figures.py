"""What stands below the answers: held-out loss, hits, tokens, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nbpeft.session.record import Record

SAME = 0.005
"""Nats: two measurements of one base's held-out loss differ by less."""


@dataclass(frozen=True)
class Figures:
    """Of one column."""

    held_out_loss: float | None
    """Nats a trained token; of the base: before training. None where it isn't known."""
    new_tokens: int
    """Generated for all prompts, ends of turns included."""
    seconds: float
    """Of the generates that this column was in."""
    together: int
    """How many columns shared those generates, this one included."""
    state: str
    """Precision of the base that the column stands on."""
    prompt_tokens: float
    """Of a prompt as it was put to the model, the mean; soft prompts, which are no tokens, not."""
    as_expected: int | None = None
    """How many answers are the data's own, but for white space; None where none is known."""


OF_ANSWERS = "held_out_loss_on_the_answers"
"""Where a loss is of more than the rows' answers (a teacher's word has its part), theirs alone."""


def held_out_loss(record: Record | None, others: Sequence[Record]) -> float | None:
    """Of an adapter as its run measured it; of the base as the runs beside it found it.

    The base's is given only where all runs agree on the rows and on the figure: a run that went on
    from another adapter measured that one, and another --eval held other rows out.
    """
    if record is not None:
        return _loss(record)
    before = [_loss(r, "_before") for r in others if r.parent is None]
    losses = [loss for loss in before if loss is not None]
    agree = losses and max(losses) - min(losses) < SAME
    return losses[0] if agree and len(losses) == len(before) and same_rows(others) else None


def _loss(record: Record, when: str = "") -> float | None:
    found = record.metrics
    return found.get(OF_ANSWERS + when, found.get(f"held_out_loss{when}"))


def same_rows(records: Sequence[Record]) -> bool:
    """Whether all were trained, and so measured, on the same rows."""
    kinds = {
        (r.data.get("fingerprint"), "sft" if OF_ANSWERS in r.metrics else r.objective)
        for r in records
    }
    return len(kinds) == 1


def hits(answers: Sequence[str], expected: Sequence[str]) -> int:
    """How many answers are as expected, but for white space; '' is no answer that is expected."""
    pairs = zip(answers, expected, strict=True)
    return sum(answer.split() == wanted.split() != [] for answer, wanted in pairs)
