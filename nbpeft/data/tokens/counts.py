"""What happened to the rows of a data set, counted for the plan's notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Self


@dataclass
class Counts:
    """What happened to the rows of one data set."""

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    cut: int = 0
    dropped: list[int] = field(default_factory=list)
    """Numbers of rows without a trained token."""
    ended: int = 0
    """Rows in which an answer's end token is trained."""
    by_own_marks: int = 0
    """Rows whose answers were told by the chat template's own {% generation %} marks,"""
    by_trl_marks: int = 0
    """by those of TRL's variant of it,"""
    by_prefixes: int = 0
    """or by rendering the chat up to each answer."""
    last_answer_only: int = 0
    """The chat template writes earlier turns otherwise once a later one is there."""
    other_opening: int = 0
    """The chat template opens an answer otherwise than it then writes it."""
    good: int = 0
    """Thumbs up."""
    split_apart: int = 0
    end_added: int = 0


class RowOf(int):
    """A row's number in one source of several: told with its name."""

    def __new__(cls, number: int, label: str) -> Self:
        row = super().__new__(cls, number)
        row.label = label
        return row

    label: str

    def __str__(self) -> str:
        return f"{int(self)} of {self.label}"


def together(each: Sequence[Counts], labels: Sequence[str]) -> Counts:
    """What was counted over several data sets of these names."""
    if len(each) == 1:
        return each[0]
    total = Counts()
    for counted in fields(Counts):
        if counted.name != "dropped":
            setattr(total, counted.name, sum(getattr(counts, counted.name) for counts in each))
    total.dropped = [
        RowOf(number, label)
        for counts, label in zip(each, labels, strict=True)
        for number in counts.dropped
    ]
    return total
