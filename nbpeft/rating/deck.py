"""The game of cards: choose, mark, skip, mark all bad, take back. No model and no widget.

What can be done is a key at a time: '1' to '6' choose the best of the answers that are left (or
mark the one that there is, 1 to 5), 's' skips, 'b' says that all are bad, 'u' takes the last step
back. A card is done with the last choice that says something: of two answers, the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from nbpeft.comparison import Prompt

SKIP, BAD, UNDO = "s", "b", "u"
MARKS = 5
"""The best mark; 1 is the worst."""

Outcome = Literal["rated", "all bad", "skipped"]


@dataclass(frozen=True)
class Answer:
    """A text, and whoever gave it: several where they wrote the very same."""

    text: str
    adapters: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """A prompt and its answers, in the order in which they are shown."""

    prompt: Prompt
    answers: tuple[Answer, ...]
    seed: int | None = None
    """That the answers were sampled under; None is greedy."""


@dataclass(frozen=True)
class Rated:
    """A card that is done."""

    card: Card
    outcome: Outcome
    scores: tuple[float, ...] = ()
    """Of each answer, 0 (worst) to 1 (best); none of a card that was skipped."""


@dataclass(frozen=True)
class Step:
    """What a key did to the cards that are done."""

    done: Rated | None = None
    undone: Rated | None = None


@dataclass(frozen=True)
class Deck:
    """The cards that wait, the one that is looked at, and those that are done; never changed."""

    mark: bool
    """Whether one answer is marked, instead of several ranked."""
    waiting: tuple[Card, ...] = ()
    """The first is looked at."""
    placed: tuple[int, ...] = ()
    """The answers of that card which were chosen so far, the best first."""
    done: tuple[Rated, ...] = ()

    @property
    def card(self) -> Card | None:
        """The one that is looked at; None while there is none."""
        return self.waiting[0] if self.waiting else None

    def add(self, card: Card) -> Deck:
        """With one more to rate, after those that wait."""
        return replace(self, waiting=(*self.waiting, card))

    @property
    def keys(self) -> tuple[str, ...]:
        """What can be done now."""
        undo = (UNDO,) if self.placed or self.done else ()
        card = self.card
        if card is None:
            return undo
        if self.mark:
            return (*map(str, range(1, MARKS + 1)), SKIP, *undo)
        left = (i for i in range(len(card.answers)) if i not in self.placed)
        return (*(str(i + 1) for i in left), SKIP, BAD, *undo)

    def press(self, key: str) -> tuple[Deck, Step]:
        """The deck after one of `keys`, and what that did to the cards that are done.

        ValueError for any other key.
        """
        if key not in self.keys:
            raise ValueError(key)
        if key == UNDO:
            return self._undo()
        card = self.waiting[0]
        if key == SKIP:
            return self._end(Rated(card, "skipped"))
        if key == BAD:
            return self._end(Rated(card, "all bad", (0.0,) * len(card.answers)))
        if self.mark:
            return self._end(Rated(card, "rated", ((int(key) - 1) / (MARKS - 1),)))
        placed = (*self.placed, int(key) - 1)
        last = len(card.answers) - 1
        if len(placed) < last:
            return replace(self, placed=placed), Step()
        # The one that is left is the worst; the others stand at equal distances above it.
        places = {answer: place for place, answer in enumerate(placed)}
        scores = tuple(1 - places.get(i, last) / last for i in range(len(card.answers)))
        return self._end(Rated(card, "rated", scores))

    def _end(self, rated: Rated) -> tuple[Deck, Step]:
        after = replace(self, waiting=self.waiting[1:], placed=(), done=(*self.done, rated))
        return after, Step(done=rated)

    def _undo(self) -> tuple[Deck, Step]:
        if self.placed:
            return replace(self, placed=self.placed[:-1]), Step()
        *done, last = self.done
        after = replace(self, waiting=(last.card, *self.waiting), done=tuple(done))
        return after, Step(undone=last)
