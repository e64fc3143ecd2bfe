"""Votes on answers that stand side by side, kept as a rating keeps its cards."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from nbpeft.comparison import Prompt
from nbpeft.errors import RequestError, quoted
from nbpeft.rating.beginning import book_of
from nbpeft.rating.deck import Answer, Card, Rated
from nbpeft.session.session import Session


class Votes:
    """The votes of one comparison; a prompt has one, and a new one takes its place."""

    def __init__(self, session: Session, namespace: MutableMapping[str, Any], into: str) -> None:
        """RequestError where the variable holds something else; DataError for a book that can't."""
        self._book = book_of(session, namespace, into)
        self._namespace, self._into = namespace, into
        self._groups: dict[int, str] = {}

    def vote(self, row: int, prompt: Prompt, given: Sequence[tuple[str, str]], best: int) -> None:
        """The answer at `best` is better than the others, which are alike.

        Args:
            row: of the prompt in the comparison.
            given: (adapter, its answer).

        Raises:
            RequestError: all answers are the same, or the best one is empty.
            DataError: it can't be written; the vote that was there stays.
        """
        texts: dict[str, list[str]] = {}
        for adapter, text in given:
            texts.setdefault(text.strip(), []).append(adapter)
        chosen = given[best][1].strip()
        if not chosen:
            raise RequestError(
                f"{quoted(given[best][0])} says nothing there: it can't be trained on."
            )
        texts.pop("", None)
        if len(texts) < 2:
            raise RequestError("The answers are the same there: no one is better.")
        answers = tuple(Answer(text, tuple(who)) for text, who in texts.items())
        scores = tuple(float(answer.text == chosen) for answer in answers)
        group = self._book.add(Rated(Card(prompt, answers), "rated", scores))
        before = self._groups.pop(row, None)
        self._groups[row] = group
        if before is not None:
            self._book.drop(before)
        self._namespace[self._into] = self._book.ratings
