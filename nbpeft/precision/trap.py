"""4-bit layers that stay trainable on every CPU.

On CPUs with AVX512-BF16 bitsandbytes packs a 4-bit weight anew at the first forward pass without
gradients, for a kernel that has no backward: whatever is trained later gets gradients of zero, in
silence. A flag of the layer says whether it may; without it generation is slower there, and right.
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
