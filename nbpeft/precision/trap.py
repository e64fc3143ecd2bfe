"""4-bit layers that stay trainable on every machine.

On CPUs with AVX512-BF16 bitsandbytes packs a 4-bit weight anew at the first forward pass without
gradients, for a kernel that has no backward: whatever is trained later gets gradients of zero, in
silence. A flag of the layer says whether it may; without it generation is slower there, and right.
And everywhere a forward pass gives a bias other storage in the dtype that the layer computes in:
what is trained from then on is that, in few bits, and not what was meant to be.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def keep_trainable(root: nn.Module) -> None:
    """No 4-bit layer in `root` is packed from now on; those that were are as they were before."""
    for layer in _layers(root):
        layer.support_avx512bf16_for_cpu = False
    unpack(root)


def unpack(root: nn.Module) -> None:
    """What was packed is as it was loaded; where that may be, the next forward packs it again."""
    for layer in _layers(root):
        _unpack(layer)


@contextlib.contextmanager
def trainable(root: nn.Module) -> Iterator[None]:
    """The same for a while: layers that the user's own model has may be packed again after."""
    flags = [(layer, layer.support_avx512bf16_for_cpu) for layer in _layers(root)]
    keep_trainable(root)
    try:
        yield
    finally:
        for layer, flag in flags:
            layer.support_avx512bf16_for_cpu = flag


@contextlib.contextmanager
def biases_kept(root: nn.Module) -> Iterator[None]:
    """Layers whose bias is trained compute in the bias's own dtype for a while."""
    trained = [x for x in _layers(root) if x.bias is not None and x.bias.requires_grad]
    dtypes = [(layer, layer.compute_dtype) for layer in trained]
    for layer in trained:
        layer.compute_dtype = layer.bias.dtype
    try:
        yield
    finally:
        for layer, dtype in dtypes:
            layer.compute_dtype = dtype


def _layers(root: nn.Module) -> list[Any]:
    if "bitsandbytes" not in sys.modules:
        return []
    from bitsandbytes.nn.modules import Linear4bit

    return [layer for layer in root.modules() if isinstance(layer, Linear4bit)]


def _unpack(layer: Any) -> None:
    from bitsandbytes import functional

    state = layer.weight.__dict__.get("quant_state")
    if state is not None and state.__dict__.get("packing_format_for_cpu", False):
        unpack = functional._convert_weight_packed_for_cpu_inverse
        layer.weight.data, layer.weight.quant_state = unpack(layer.weight.data, state)
