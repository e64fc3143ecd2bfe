"""4-bit layers that stay trainable on every CPU.

On CPUs with AVX512-BF16 bitsandbytes packs a 4-bit weight anew at the first forward pass without
gradients, for a kernel that has no backward: whatever is trained later gets gradients of zero, in
silence. A flag of the layer says whether it may; without it generation is slower there, and right.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def keep_trainable(root: nn.Module) -> None:
    """No 4-bit layer in `root` is packed from now on; those that were are as they were before."""
    if "bitsandbytes" not in sys.modules:
        return
    from bitsandbytes.nn.modules import Linear4bit

    for layer in root.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False
            _unpack(layer)


def _unpack(layer: Any) -> None:
    from bitsandbytes import functional

    state = layer.weight.__dict__.get("quant_state")
    if state is not None and state.__dict__.get("packing_format_for_cpu", False):
        unpack = functional._convert_weight_packed_for_cpu_inverse
        layer.weight.data, layer.weight.quant_state = unpack(layer.weight.data, state)
