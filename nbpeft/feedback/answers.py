"""An answer as it is judged, and what judges it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Said = str | list[dict[str, Any]]
"""A prompt: a string, or messages."""


@dataclass(frozen=True)
class Answered:
    """An answer to a prompt."""

    prompt: Said
    text: str
    """The answer, without its end token."""
    prompt_ids: Sequence[int] = ()
    ids: Sequence[int] = ()
    """The answer's tokens, with the end token where it came to one."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """The other columns of the prompt's row."""

    @property
    def asked(self) -> str:
        """What was asked, as one text: a chat by its last message."""
        return self.prompt if isinstance(self.prompt, str) else str(self.prompt[-1]["content"])


class Reward(Protocol):
    """Says how good answers are."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    @property
    def swaps(self) -> bool:
        """Whether another answers for it on the same base: what is trained must be aside."""

    def check(self, columns: Collection[str]) -> None:
        """Refuse rows that have not what it needs; RequestError."""

    def rewards(self, answers: Sequence[Answered]) -> list[float]:
        """A number an answer, the higher the better.

        Raises:
            RunError: it fails, or gives something else than so many numbers.
        """


@dataclass(frozen=True)
class Weighted:
    """The sum of several rewards, each by its weight."""

    parts: tuple[tuple[Reward, float], ...]

    @property
    def name(self) -> str:
        """Their names."""
        return " + ".join(reward.name for reward, _ in self.parts)

    @property
    def swaps(self) -> bool:
        """Whether one of them does."""
        return any(reward.swaps for reward, _ in self.parts)

    def check(self, columns: Collection[str]) -> None:
        """As `Reward` has it."""
        for reward, _ in self.parts:
            reward.check(columns)

    def rewards(self, answers: Sequence[Answered]) -> list[float]:
        """As `Reward` has it."""
        total = [0.0] * len(answers)
        for reward, weight in self.parts:
            total = [
                before + weight * value
                for before, value in zip(total, reward.rewards(answers), strict=True)
            ]
        return total
