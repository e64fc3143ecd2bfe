"""Whether code runs beside the user's cells: in the thread of a background run.

There it may not touch what the user's own thread may be using: random states, the environment,
Python's warnings; and it is asked to stop by an event alone, as signals go to the main thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Beside:
    """What the code of a background run is told by its surroundings."""

    take: Callable[[Any], None]
    """Called with each model's handle that the run asks the session for: it is the run's from then
    on, and nobody else's, until the run is over."""
    asked: threading.Event = field(default_factory=threading.Event)
    """Set when the run, whichever of its parts is going on, should end."""


class _Here(threading.local):
    run: Beside | None = None


_here = _Here()


def beside() -> Beside | None:
    """The background run that this thread is; None in the user's own threads."""
    return _here.run


@contextlib.contextmanager
def running(run: Beside) -> Iterator[None]:
    """Inside, this thread is that run."""
    _here.run = run
    try:
        yield
    finally:
        _here.run = None
