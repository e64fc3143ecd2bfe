"""A rating that goes on: turns become cards, keys become rows, and whoever shows it is told."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from nbpeft.errors import RequestError, listed, quoted
from nbpeft.rating.answering import Answerer
from nbpeft.rating.book import Book
from nbpeft.rating.deck import Deck
from nbpeft.rating.ratings import Ratings
from nbpeft.rating.request import RateRequest
from nbpeft.rating.summary import card_table, closing_table, standing_line
from nbpeft.rating.turns import Turn
from nbpeft.rendering import Table, count

AHEAD = 4
"""Cards that are ready while one is looked at."""


class Rating:
    """Cards that are rated one after another; shows itself as buttons, or as text in a terminal.

    `ratings` is what has come of it: the list that the user's variable holds. `press(key)` does
    what a click does. Between two cells of the notebook answers are written ahead, in the kernel's
    own thread, so that no cell finds the model in the midst of it; keys may come from another one.
    """

    def __init__(
        self, request: RateRequest, turns: Sequence[Turn], answerer: Answerer, book: Book
    ) -> None:
        self.request = request
        self.deck = Deck(mark=request.mark)
        self.problem = ""
        """Why no more answers came, in a line."""
        self._turns = deque(turns)
        self._all = len(turns)
        self.most_answers = max((turn.answers for turn in turns), default=1)
        """Of any card."""
        self._alike = 0
        self._answerer = answerer
        self._book = book
        self._groups: list[str | None] = []
        """What the book calls each card that is done; None for one that was skipped."""
        self._finished = False
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []

    @property
    def ratings(self) -> Ratings:
        """Every row of this name, those of earlier times included."""
        return self._book.ratings

    @property
    def path(self) -> str:
        """Where the rows are kept, from the working folder if it lies there."""
        path, here = self._book.path, Path.cwd()
        return str(path.relative_to(here) if path.is_relative_to(here) else path)

    @property
    def done(self) -> bool:
        """Whether all is rated, or `finish` was called: who answered what may be told."""
        return self._finished or (not self._turns and self.deck.card is None)

    @property
    def place(self) -> str:
        """Which card it is: '3 of 20'."""
        left = len(self._turns) + len(self.deck.waiting)
        return f"{count(self._all - left + 1)} of {count(self._all)}"

    @property
    def keys(self) -> tuple[str, ...]:
        """What can be pressed now; nothing once it is done."""
        return () if self.done else self.deck.keys

    def press(self, key: str) -> None:
        """Do what a click does: '1' to '6' choose, 's' skip, 'b' all bad, 'u' take back.

        RequestError for a key that does nothing now, DataError where the row can't be kept.
        """
        self.deal(1)
        self.take(key)

    def take(self, key: str) -> None:
        """The same with the cards that are ready; never writes an answer."""
        with self._lock:
            if key not in self.keys:
                raise RequestError(
                    f"{quoted(key)} does nothing now; the keys are: {listed(self.keys)}."
                )
            deck, step = self.deck.press(key)
            # The file first: where it can't be written, nothing was pressed.
            if step.done is not None:
                kept = self._book.add(step.done) if step.done.scores else None
                self._groups.append(kept)
            if step.undone is not None:
                if self._groups[-1] is not None:
                    self._book.drop(self._groups[-1])
                self._groups.pop()
            self.deck = deck
        self._tell()

    def finish(self) -> None:
        """No more cards: what was rated stays, and who answered what may be told."""
        with self._lock:
            self._finished = True
        self.stop()

    def stop(self, problem: str = "") -> None:
        """Write no more answers; the cards that are ready are still shown."""
        with self._lock:
            self.problem = problem
            self._turns.clear()
        self._tell()

    def wants_more(self, ahead: int = AHEAD) -> bool:
        """Whether fewer cards are ready, and there are turns left."""
        return bool(self._turns) and len(self.deck.waiting) < ahead

    def deal(self, ahead: int) -> None:
        """Write answers until so many cards are ready, or no turn is left."""
        while self.wants_more(ahead):
            self.deal_one()

    def deal_one(self) -> None:
        """Write the answers of the next turn: a card, where there is something to choose."""
        turn = self._turns[0]
        card = self._answerer.card(turn)
        with self._lock:
            if not self._turns:  # stopped while they were written
                return
            self._turns.popleft()
            if card is None:
                self._alike += 1
            else:
                self.deck = self.deck.add(card)
        self._tell()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call it after every change."""
        self._listeners.append(listener)

    def table(self) -> Table:
        """Who came out how once it is done, before that the card that is looked at."""
        if not self.done:
            return card_table(self.deck, self.place)
        notes = [self.problem] if self.problem else []
        if self._alike:
            notes.append(
                f"{count(self._alike)} of {count(self._all)} prompts were left out: their answers "
                "were alike, or empty."
            )
        return closing_table(self.ratings, self.deck, self.request.into, self.path, notes)

    def line(self) -> str:
        """How far it is, in a line."""
        if self.done:
            return f"[nbpeft] {self.request.into}: the rating is done."
        return standing_line(self.ratings, self.deck, self.request.into, self.path)

    def __repr__(self) -> str:
        return self.table().text()

    def _ipython_display_(self) -> None:
        from nbpeft.rating.view import show

        show(self)

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()
