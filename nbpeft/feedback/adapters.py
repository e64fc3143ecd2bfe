"""Rewards that are adapters: reward models on the same base weights as the policy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from nbpeft.feedback.answers import Answered


class Rates(Protocol):
    """Scores texts; `nbpeft.scoring.Rater` does."""

    def rate(self, texts: Sequence[Sequence[int]]) -> list[float]:
        """One score a text of token ids."""


@dataclass(frozen=True)
class Scores:
    """What a reward adapter of this kernel says of a prompt with its answer."""

    name: str
    rater: Rates

    @property
    def swaps(self) -> bool:
        """It stands on the base that is trained."""
        return True

    def check(self, columns: Collection[str]) -> None:
        """It needs no other columns."""

    def rewards(self, answers: Sequence[Answered]) -> list[float]:
        """The scores of the very tokens that were sampled."""
        return self.rater.rate([[*answer.prompt_ids, *answer.ids] for answer in answers])
