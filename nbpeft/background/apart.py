"""What a background run has to itself of what libraries keep once for the whole process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from nbpeft.beside import beside


class _OfEachThread:
    """Accelerate's shared state of a kind: a background run's own, and one for all others.

    Two trainers with one state would count each other's steps, and a new one clears it. Accelerate
    does the same on TPUs, where processes are threads (`ThreadLocalSharedDict`).
    """

    def __init__(self, others: dict[str, Any]) -> None:
        self.others = others
        self._own = threading.local()

    def __get__(self, _instance: Any, _owner: Any = None) -> dict[str, Any]:
        return self.others if beside() is None else vars(self._own)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Inside, this thread's trainers and the user's know nothing of one another."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    kinds: tuple[Any, ...] = (AcceleratorState, GradientState, PartialState)
    shared = [_OfEachThread(kind._shared_state) for kind in kinds]
    for kind, state in zip(kinds, shared, strict=True):
        kind._shared_state = state
    try:
        yield
    finally:
        for kind, state in zip(kinds, shared, strict=True):
            kind._shared_state = state.others


def device_here() -> int | None:
    """The GPU that this thread uses, which a new thread doesn't know of."""
    import torch

    return torch.cuda.current_device() if torch.cuda.is_initialized() else None


def use_device(number: int | None) -> None:
    """Use that GPU in this thread."""
    import torch

    if number is not None:
        torch.cuda.set_device(number)
