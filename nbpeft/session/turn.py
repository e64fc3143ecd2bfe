"""Whose turn it is with a model: one thread's at a time.

What nbpeft does with a model swaps pointers in it. A second thread that did so meanwhile, or took
what stands there for the base, would get something that is neither.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from nbpeft.errors import ModelError, Stopped

_SECONDS = 0.05
"""Between two looks whether a run that waits should rather end."""


class Turn:
    """Held by the thread that uses a model; within that one it can be used again and again."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._thread: int | None = None
        self._depth = 0
        self._why = _used_elsewhere

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds it."""
        return self._thread == threading.get_ident()

    @property
    def is_others(self) -> bool:
        """Whether another thread holds it."""
        return self._thread not in (None, threading.get_ident())

    def refusal(self) -> ModelError:
        """Says to another thread why it can't have the model."""
        return ModelError(self._why())

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Inside, no other thread can use the model. ModelError where another one does."""
        with self._changed:
            if self.is_others:
                raise self.refusal()
            self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextlib.contextmanager
    def taken(self, why: Callable[[], str], asked: threading.Event) -> Iterator[None]:
        """The same for a background run, which waits until whoever has the model is done.

        Args:
            why: what others are told.
            asked: ends the waiting; Stopped is raised then.
        """
        with self._changed:
            while self.is_others:
                if asked.is_set():
                    raise Stopped("stopped before it began; nothing is changed.")
                self._changed.wait(_SECONDS)
            self._enter()
            before, self._why = self._why, why
        try:
            yield
        finally:
            self._why = before
            self._leave()

    def _enter(self) -> None:
        self._thread = threading.get_ident()
        self._depth += 1

    def _leave(self) -> None:
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._thread = None
                self._changed.notify_all()


def _used_elsewhere() -> str:
    return "The model is in use by another cell or thread; try again when that is done."
