"""On which precision of the base an adapter is to stand, and what that comes to."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from nbpeft.errors import RequestError
from nbpeft.methods import Method
from nbpeft.plan import Weights
from nbpeft.precision import AS_LOADED
from nbpeft.precision.checks import check
from nbpeft.request import Quantize
from nbpeft.session.models import Handle


@dataclass(frozen=True)
class Standing:
    """A precision that the base may have."""

    state: str
    weights: Weights | None = None
    """Where it is quantized: bytes before and after."""
    notes: tuple[str, ...] = ()
    """What the user should know of it."""


def wanted(handle: Handle, method: Method, asked: str | None, before: str | None) -> str:
    """The precision of the base that an adapter is to stand on.

    Args:
        asked: what the user typed.
        before: that of the adapter which it goes on from.
    """
    return asked or before or method.quantize or handle.precision.home


def counting(handle: Handle, state: str) -> AbstractContextManager[None]:
    """The bare base to count on: where it stands by now if that is the state, else as loaded."""
    return handle.bare(state if state == handle.precision.now else handle.precision.home)


def standing(
    handle: Handle,
    method: Method,
    settings: Mapping[str, Any],
    state: str,
    *,
    in_place: bool = False,
) -> Standing:
    """Whether a method can stand on that precision of the base; nothing is moved.

    Args:
        settings: fields of the method's config.
        in_place: the user gives the original weights up.

    Raises:
        RequestError: the method can't be trained on it, or bitsandbytes isn't there.
        ModelError: the base can't be brought to it.
    """
    precision = handle.precision
    if in_place and state == AS_LOADED:
        raise RequestError(
            "--in-place says what becomes of the original weights when the base is quantized; "
            "type --quantize nf4 with it, or leave it out."
        )
    if state == precision.loaded != AS_LOADED:
        method.check_base(settings, state)
        return Standing(AS_LOADED, notes=(f"the model was loaded in {state} and stays so",))
    precision.check(state)
    if state == AS_LOADED:
        if precision.loaded in typing.get_args(Quantize):
            method.check_base(settings, precision.loaded)
        return Standing(state)
    method.check_base(settings, state)
    attached = handle.attached and handle.mounts[handle.attached].state
    if in_place and (handle.resting or attached not in (None, state)):
        raise RequestError(
            "--in-place leaves nothing for the adapter that is attached to stand on; detach it "
            "first: %peft_attach --none."
        )
    kind = typing.cast("Quantize", state)
    weights = precision.known.get(kind) or check(handle.root, kind)
    precision.known[kind] = weights
    return Standing(state, weights, _notes(handle, in_place=in_place))


def _notes(handle: Handle, *, in_place: bool) -> tuple[str, ...]:
    from nbpeft.precision.originals import foreseen

    if handle.precision.given_up or next(handle.root.parameters()).is_meta:
        return ()
    if in_place:
        return ("the base is quantized for good: as loaded it is gone until you load it again",)
    place = handle.precision.place or foreseen(handle.root)
    return {
        "checkpoint": ("the original weights are read again from the checkpoint when needed",),
        "host": ("the original weights wait in host memory",),
        "here": (
            "the original weights stay in memory beside the quantized ones, so nothing is saved: "
            "the model is on the CPU and no checkpoint holds them (--in-place lets go of them)",
        ),
    }[place]
