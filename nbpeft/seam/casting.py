"""Frozen weights in the dtype that the hardware multiplies fast in, for the time of a run.

Where a base is in fp32 on hardware whose bf16 products are several times faster, its frozen linear
layers multiply by bf16 copies of their weights. The user's parameters stay where they are and what
they are: a layer's `weight` is still its own, so that methods which read or change its values
(DoRA's norm, PiSSA's factors, a sparse difference) see the true ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional

from nbpeft.precision.layers import compute_dtype
from nbpeft.room import free_memory

FAST = torch.bfloat16
"""As wide a range as fp32, so that nothing needs scaling."""
ORDINARY = (nn.Parameter, FakeTensor)
"""Weights as torch makes them; the second where a run is traced by shapes alone."""
MARGIN = 0.25
"""Of the free memory, the share that copies leave for all else that a run makes."""

SMALL = 1 << 21
"""Multiplications of a product that isn't worth a cast of its input: a token of a text written."""


@contextlib.contextmanager
def frozen_in_fast_dtype(model: nn.Module, device_memory_free: int | None = None) -> Iterator[int]:
    """Inside, frozen fp32 linear layers multiply by copies in bf16; gives the bytes of all copies.

    `device_memory_free`: bytes; read from the system where None. Nothing is copied where that
    isn't enough, or where bf16 is no faster; quantized layers and what is trained are left alone.
    Hidden states stay in fp32 between layers, so that residual sums and norms lose nothing.
    """
    layers = [layer for layer in model.modules() if castable(layer)]
    weights = {id(layer.weight): layer.weight for layer in layers}
    size = sum(weight.numel() * FAST.itemsize for weight in weights.values())
    if not layers or not _fits(size, next(iter(weights.values())).device, device_memory_free):
        yield 0
        return
    copies: dict[int, torch.Tensor] = {}
    try:
        for layer in layers:
            layer.forward = Fast(layer, copies)
        yield size
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
        copies.clear()


class Fast:
    """The forward of a linear layer that multiplies by a copy of its weight.

    The copy is made when it is first wanted: under some adapters a base layer never multiplies. It
    stands for the very tensor that was in the layer, unwritten and frozen. `functional_call` and
    parametrizations put others there; those are multiplied by themselves.
    """

    def __init__(self, layer: nn.Linear, copies: dict[int, torch.Tensor]) -> None:
        self._layer = layer
        self._weight = layer.weight
        self._version = layer.weight._version
        self._copies = copies
        """By the weight's id: tied layers have one."""

    @property
    def valid(self) -> bool:
        """Whether the copy is of what stands in the layer now."""
        weight = self._layer.weight
        same = weight is self._weight and weight._version == self._version
        return same and not weight.requires_grad

    @property
    def copy(self) -> torch.Tensor:
        """The weight in the fast dtype, (out, d)."""
        key = id(self._weight)
        if key not in self._copies:
            with torch.inference_mode(mode=False):  # else it could not be trained through
                self._copies[key] = self._weight.detach().to(FAST)
        return self._copies[key]

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        """(…, d) -> (…, out), in the dtype of `given`, or of autocast."""
        layer = self._layer
        if not self.valid or given.dtype not in {torch.float32, FAST}:
            return type(layer).forward(layer, given)
        if torch.is_autocast_enabled(given.device.type):
            return functional.linear(given, self.copy, layer.bias)
        if given.numel() * layer.out_features < SMALL:
            return type(layer).forward(layer, given)
        result = functional.linear(given.to(FAST), self.copy).to(given.dtype)
        return result if layer.bias is None else result + layer.bias


def multiplied_by(layer: nn.Linear, given: torch.Tensor) -> torch.Tensor:
    """What a linear layer multiplies `given` (…, d) by now: (out, d), its weight or the copy."""
    forward: Any = layer.__dict__.get("forward")
    small = given.numel() * layer.out_features < SMALL
    return layer.weight if type(forward) is not Fast or small or not forward.valid else forward.copy


def plain(layer: nn.Module) -> bool:
    """Whether a layer is a linear one that computes as torch's does, fast copy or not."""
    own = layer.__dict__.get("forward")
    return (
        type(layer) is nn.Linear
        and (own is None or type(own) is Fast)
        and not (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks)
    )


def frozen(layer: nn.Module) -> bool:
    """Whether nothing of a layer is trained."""
    return not any(parameter.requires_grad for parameter in layer.parameters())


def castable(layer: nn.Module) -> bool:
    """Whether a layer is a linear one of a frozen fp32 weight, on a device faster in bf16."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight) in ORDINARY  # others are quantized, or in shards
        and "forward" not in layer.__dict__
        and layer.weight.dtype == torch.float32
        and not layer.weight.requires_grad  # a bias may be
        and fast_in_bf16(layer.weight.device)
    )


def fast_in_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for products of bf16, and torch uses them."""
    if device.type == "cpu" and not torch.backends.mkldnn.is_available():
        return False
    return device.type in {"cpu", "cuda"} and compute_dtype(device) == FAST


def _fits(size: int, device: torch.device, free: int | None) -> bool:
    return size <= (1 - MARGIN) * (free_memory(device) if free is None else free)
