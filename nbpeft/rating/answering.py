"""Turns answered: each as its adapters answer it, as in a comparison, shuffled into a card."""

from __future__ import annotations

import random
import weakref
from typing import TYPE_CHECKING, Any

from nbpeft.comparison import compare
from nbpeft.errors import ModelError
from nbpeft.rating.deck import Answer, Card
from nbpeft.rating.turns import Turn
from nbpeft.session.session import Session

if TYPE_CHECKING:
    from torch import nn

TRIES = 3
"""How often a lone adapter is sampled for answers that differ."""
APART = 1_000_003
"""Between the seeds of two tries."""


class Answerer:
    """Writes the answers of a turn. Holds the model weakly: who lets go of it gets its memory."""

    def __init__(
        self, session: Session, root: nn.Module, tokenizer: Any, max_new_tokens: int
    ) -> None:
        self._session = session
        self._root = weakref.ref(root)
        self._tokenizer = tokenizer
        self._max_new_tokens = max_new_tokens

    def card(self, turn: Turn) -> Card | None:
        """The card of a turn, its answers in a random order; None where there is no choice.

        The model, its modes and the random states are as before. An empty answer is none: it can't
        be trained on.

        Raises:
            ModelError: the model is gone.
            AdapterError: an adapter is.
        """
        given: dict[str, list[str]] = {}
        for number in range(TRIES):
            for adapter, text in self._texts(turn, number * APART):
                given.setdefault(text.strip(), []).append(adapter)
            if len(given) >= turn.answers or turn.answers == len(turn.adapters):
                break
        given.pop("", None)
        texts = list(given)[: turn.answers]
        if len(texts) < min(2, turn.answers):
            return None
        random.Random(turn.order).shuffle(texts)
        answers = (Answer(text, tuple(dict.fromkeys(given[text]))) for text in texts)
        return Card(turn.prompt, tuple(answers), turn.seed)

    def _texts(self, turn: Turn, apart: int) -> list[tuple[str, str]]:
        """(adapter, what it wrote)."""
        root = self._root()
        if root is None:
            raise ModelError("The model is gone; load it, and run the cell of the rating again.")
        times = turn.answers // len(turn.adapters)
        asked = compare(
            self._session,
            self._session.handle(root),
            self._tokenizer,
            turn.adapters,
            [turn.prompt] * times,
            max_new_tokens=self._max_new_tokens,
            seed=None if turn.seed is None else turn.seed + apart,
        )
        return [
            (adapter, text)
            for answers in asked.answers
            for adapter, text in zip(asked.columns, answers, strict=True)
        ]
