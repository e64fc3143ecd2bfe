"""One adapter layer merged into its base layer, on a private copy of both.

What a type of adapter adds to a weight is PEFT's to know (`merge` of its layers); nothing of the
base, of its quantized twins or of the adapter is written.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol, runtime_checkable

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn

from nbpeft.mounts.modules import Swap


@runtime_checkable
class _Unloads(Protocol):
    """PEFT's wrappers with a way of their own to merge: of fused parameters, of token rows."""

    def unload_and_optionally_merge_module(
        self, merge: bool, safe_merge: bool, adapter_names: list[str] | None
    ) -> nn.Module:
        """The module that was wrapped."""


def unmergeable(swap: Swap) -> bool:
    """Whether the adapter's layer there is no change of the base layer's weights."""
    layer = swap.adapter
    if isinstance(layer, _Unloads):
        return False
    if isinstance(layer, BaseTunerLayer):
        return type(layer).merge is BaseTunerLayer.merge
    return type(layer) is not type(swap.base)  # else a copy of it, with tuned values


def over_few_bits(swap: Swap) -> bool:
    """Whether it is one of PEFT's layers for quantized weights."""
    return type(swap.adapter).__module__.endswith(".bnb")


def merged(layer: nn.Module, name: str) -> nn.Module:
    """What stands in place of the base layer, with the adapter that PEFT calls `name` in it.

    Needs memory for a few copies of the one layer meanwhile.

    Raises:
        ValueError, …: what PEFT has to say; values that aren't finite among it.
    """
    if isinstance(layer, ModulesToSaveWrapper):
        own: nn.Module = dict(layer.modules_to_save).get(name, layer.original_module)
        return own
    if not isinstance(layer, BaseTunerLayer | _Unloads):
        return layer
    private: Any = _private(layer)
    with torch.no_grad():
        if isinstance(private, _Unloads):
            return private.unload_and_optionally_merge_module(True, True, [name])
        private.merge(safe_merge=True, adapter_names=[name])
    base: nn.Module = private.get_base_layer()
    return base


def _private(layer: nn.Module) -> nn.Module:
    private = copy.deepcopy(layer)
    for module in private.modules():
        weight: Any = module._parameters.get("weight")
        # bitsandbytes' copy of a 4-bit weight still points to the layer it was copied from, and
        # quantizing it anew would write there.
        if weight is not None and "module" in weight.__dict__:
            weight.module = module
    return private
