"""Plain lines on stdout: for plain Python and IPython in a terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

from nbpeft.events import (
    Evaluated,
    Event,
    Failed,
    Finished,
    Noted,
    Planned,
    Progressed,
    Sampled,
    Started,
    Tabled,
)
from nbpeft.rendering import plain
from nbpeft.views.progress import Progress, closing_table, failure_table, still_table

_SECONDS_APART = 0.1
_STEP_LINES = 40
"""Of a whole run: what scrolls by can still be read."""


def write_line(text: str) -> None:
    """One text on stdout, at once; what its encoding lacks is shown as a code, never an error."""
    encoding = sys.stdout.encoding or "utf-8"
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(shown + "\n")
    sys.stdout.flush()


class TerminalView:
    """A listener that prints: the plan, about forty step lines, evaluations, samples, notes, the
    summary.

    Every text that isn't a table's inner line begins with '[nbpeft] '. The first and the last step
    are always printed, others at most ten a second.
    """

    def __init__(
        self,
        write: Callable[[str], None] = write_line,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._clock = clock
        self._reset()

    def __call__(self, event: Event) -> None:
        """Print what the event says, or keep it for later (see `Events`)."""
        match event:
            case Progressed():
                self._step(event)
            case Evaluated():
                self._progress.evaluate(event)
                self._write(self._progress.held_out_line)
            case Sampled():
                self._progress.answer(event)
                self._write(self._progress.sample_line)
            case Noted():
                self._write(f"[nbpeft] {plain(event.text, one_line=True)}")
            case Planned() | Tabled():
                self._write(still_table(event).text())
            case Started():
                self._progress.start(event)
                self._write(self._progress.opening_line)
            case Finished():
                self._end(closing_table(event).text())
            case Failed():
                # A run that never began leaves nothing to close: the error says it all.
                if self._progress.started is not None:
                    self._end(failure_table(event, self._progress).text())

    def _reset(self) -> None:
        self._progress = Progress()
        self._printed: Progressed | None = None
        self._next_step = 0
        self._next_time = -math.inf

    def _step(self, event: Progressed) -> None:
        self._progress.step(event)
        last = event.step >= event.steps
        # The clock is asked only when enough steps have gone by: most cost two comparisons.
        if last or (event.step >= self._next_step and self._clock() >= self._next_time):
            self._print_step(event)

    def _print_step(self, event: Progressed) -> None:
        done = self._progress.started.done if self._progress.started else 0
        # Two lines are the first's and the last's.
        self._next_step = event.step + math.ceil((event.steps - done) / (_STEP_LINES - 2))
        self._next_time = self._clock() + _SECONDS_APART
        self._printed = event
        self._write(self._progress.step_line)

    def _end(self, text: str) -> None:
        # A run that was stopped ends on a step that nobody foresaw.
        if self._progress.latest is not self._printed:
            self._write(self._progress.step_line)
        self._write(text)
        self._reset()
