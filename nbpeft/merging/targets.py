"""Which adapters can be merged, and over which state of the base that is done."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.errors import ModelError, RequestError
from nbpeft.merging.request import Into
from nbpeft.precision import AS_LOADED
from nbpeft.request import Quantize
from nbpeft.session.models import Handle
from nbpeft.session.record import Record

if TYPE_CHECKING:
    from nbpeft.mounts import Mount


@dataclass(frozen=True)
class Target:
    """Where an adapter is merged."""

    state: str
    """The base's, while it is merged."""
    quantize: Quantize | None = None
    """What the merged model is quantized to then."""
    in_few_bits: bool = False
    """Whether the weights that are merged into are quantized."""


def target_of(handle: Handle, record: Record, into: Into) -> Target:
    """Over which state of the base a record is merged; nothing is moved.

    The originals, wherever they are there: quantized weights lie on a coarse grid, and small
    changes to them are rounded away (of an adapter of 20 steps, 1.96 nats a token against 0.01
    where the merged originals are quantized).

    Raises:
        ModelError: those weights aren't there.
    """
    precision = handle.precision
    if precision.loaded != AS_LOADED:
        if into == precision.loaded:
            return Target(AS_LOADED, in_few_bits=True)
        if into != "originals":
            precision.check(into)
        known = precision.loaded in typing.get_args(Quantize)
        raise ModelError(
            f"The model was loaded quantized ({precision.loaded}), so that there are no originals "
            "to merge into; load it without a quantization_config"
            + (f", or type --into {precision.loaded}." if known else ".")
        )
    if into == record.state and precision.given_up:
        precision.check(into)
        return Target(into, in_few_bits=True)
    if precision.given_up:
        raise ModelError(
            f"The base is {precision.now} for good (--in-place), so that there are no originals to "
            f"merge into; load the model again"
            + (f", or type --into {precision.now}." if record.state == precision.now else ".")
        )
    return Target(AS_LOADED, None if into == "originals" else into)


def check_kind(record: Record, mount: Mount, target: Target) -> None:
    """Refuse what is no change of weights; RequestError says what it is."""
    from nbpeft.merging.layers import over_few_bits, unmergeable
    from nbpeft.mounts.adopted import AdoptedMount
    from nbpeft.mounts.diffs import DiffMount
    from nbpeft.mounts.heads import HeadMount
    from nbpeft.mounts.modules import ModulesMount
    from nbpeft.mounts.prompts import PromptMount

    if isinstance(mount, PromptMount):
        raise _no_weights(record, "is a soft prompt: it stands in the model's input")
    if isinstance(mount, HeadMount):
        raise _no_weights(record, "is a classifier beside the model")
    if isinstance(mount, DiffMount):
        raise RequestError(
            f"{record.label} is still in training, its differences are not chosen yet; shelve it "
            f"first, with nbpeft.save({record.name!r})."
        )
    swaps = mount.swaps if isinstance(mount, ModulesMount | AdoptedMount) else []
    refused = [swap for swap in swaps if unmergeable(swap)]
    if any(not over_few_bits(swap) for swap in refused):
        raise _no_weights(record, f"({record.method}) computes beside the weights")
    if refused and target.in_few_bits:
        raise RequestError(
            f"PEFT merges {record.method} into whole weights only, not into quantized ones; leave "
            "--into out."
        )


def _no_weights(record: Record, what: str) -> RequestError:
    return RequestError(
        f"{record.label} {what}, and no weights of the model give the same, so that it can't be "
        "merged; attach it, or load its folder with PEFT."
    )
