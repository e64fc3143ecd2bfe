"""A fence around a model that is being tuned: no other thread gets an answer from it.

What it would get is neither the base nor an adapter: half-trained layers, in train mode. nbpeft's
own calls ask for the model's turn; a plain forward pass, and with it `generate`, meets a hook.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from nbpeft.errors import Stopped

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.session.models import Handle

_SECONDS = 0.005
"""Between two looks whether a forward pass of the user's is over."""


@contextlib.contextmanager
def fenced(handle: Handle, why: Callable[[], str], asked: threading.Event) -> Iterator[None]:
    """Inside, the model is this thread's alone; it waits until calls under way are done.

    Args:
        why: what a call from another thread is told (ModelError).
        asked: ends the waiting; Stopped is raised then.
    """
    with handle.turn.taken(why, asked), contextlib.ExitStack() as hooks:
        watched = _watched(handle)
        refuse = _refusal(handle, {id(module) for module in watched})
        for module in watched:
            hooks.callback(module.register_forward_pre_hook(refuse).remove)
        while _is_called({id(module) for module in watched}):
            if asked.is_set():
                raise Stopped("stopped before it began; nothing is changed.")
            time.sleep(_SECONDS)
        yield


def _watched(handle: Handle) -> list[nn.Module]:
    """The model, the user's PeftModel around it, and its body: what users call.

    Layers are not: on a GPU checkpointed ones are computed again in a thread of torch's. Nor is a
    head without parts of its own, as layers with hooks are trained more slowly.
    """
    bodies = [child for child in handle.root.children() if any(child.children())]
    return [*{id(m): m for m in (handle.owner, handle.root, *bodies)}.values()]


def _refusal(handle: Handle, watched: set[int]) -> Callable[..., None]:
    """The hook. A plain function, which a copy of the model shares: only the originals refuse."""
    turn = handle.turn

    def refuse(module: nn.Module, _inputs: Any) -> None:
        if turn.is_others and id(module) in watched and not _is_torchs():
            raise turn.refusal()

    return refuse


def _is_torchs() -> bool:
    """Whether this thread is none that Python started: one in which torch goes backward."""
    return isinstance(threading.current_thread(), threading._DummyThread)


def _is_called(watched: set[int]) -> bool:
    """Whether another thread is in a forward pass of one of these modules: its stack says so."""
    from torch import nn

    call, own = nn.Module._call_impl.__code__, threading.get_ident()
    for thread, top in sys._current_frames().items():
        frame: FrameType | None = None if thread == own else top
        while frame is not None:
            if frame.f_code is call and id(frame.f_locals.get("self")) in watched:
                return True
            frame = frame.f_back
    return False
