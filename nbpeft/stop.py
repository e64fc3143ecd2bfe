"""Stop: the first interrupt ends the run after the current step, the second at once."""

from __future__ import annotations

import contextlib
import signal
import threading
import uuid
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

from nbpeft.beside import beside

_entered: dict[str, Stop] = {}
"""Those of the runs that go on, by their ids."""


def ask(run: str) -> bool:
    """End that run after its current step; safe from any thread. False: no such run goes on."""
    stop = _entered.get(run)
    if stop is not None:
        stop.ask()
    return stop is not None


class Stop:
    """While entered, SIGINT asks the run to stop instead of breaking it off anywhere.

    `asked` is looked at after every step. Outside `interruptible()` (mounting, saving, putting
    things back) an interrupt is only noted. Off the main thread signals can't be taken: there
    `ask()` is the only way.
    """

    def __init__(self) -> None:
        self.run = uuid.uuid4().hex
        """Names the run to whoever asks from outside (`ask`)."""
        run = beside()
        # Of a background run all parts are asked together: a chain is several runs.
        self._asked = threading.Event() if run is None else run.asked
        self._breakable = False
        self._at_once = False
        self._main = threading.current_thread() is threading.main_thread()

    @property
    def asked(self) -> bool:
        """Whether the run should end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """End the run after the current step; safe from any thread."""
        self._asked.set()

    def __enter__(self) -> Self:
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        _entered[self.run] = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del _entered[self.run]
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    @contextlib.contextmanager
    def interruptible(self, *, at_once: bool = False) -> Iterator[None]:
        """Inside, the second interrupt raises KeyboardInterrupt (a step may take minutes).

        With `at_once` the first one does. Python swallows what is raised while it happens to be
        in a finalizer, so look at `asked` afterwards all the same.
        """
        self._breakable, self._at_once = True, at_once
        try:
            yield
        finally:
            self._breakable = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        again = self.asked
        self._asked.set()
        if self._breakable and (again or self._at_once):
            self._breakable = False
            raise KeyboardInterrupt
