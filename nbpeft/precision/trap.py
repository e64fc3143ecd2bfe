"""4-bit layers that stay trainable on every machine.

On CPUs with AVX512-BF16 bitsandbytes packs a 4-bit weight anew at the first forward pass without
gradients, for a kernel that has no backward: whatever is trained later gets gradients of zero, in
silence. A flag of the layer says whether it may; without it generation is slower there, and right.
And everywhere a forward pass gives a bias other storage in the dtype that the layer computes in:
what is trained from then on is that, in few bits, and not what was meant to be.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def keep_trainable(root: nn.Module) -> None:
    """No 4-bit layer in `root` is packed from now on; those that were are as they were before."""
    for layer in _layers(root):
        layer.support_avx512bf16_for_cpu = False
        if _is_packed(layer.weight):
            layer.weight.data, layer.weight.quant_state = _unpacked(
                layer.weight, layer.weight.quant_state
            )


@contextlib.contextmanager
def trainable(root: nn.Module) -> Iterator[None]:
    """The same for a while: layers that the user's own model has are as packed as before, after.

    Packing rounds the scales, and so does each way back: what was packed is kept, not packed again.
    """
    flags = [(layer, layer.support_avx512bf16_for_cpu) for layer in _layers(root)]
    packed = [
        (layer.weight, layer.weight.data, dict(vars(layer.weight.quant_state)))
        for layer, _ in flags
        if _is_packed(layer.weight)
    ]
    keep_trainable(root)
    try:
        yield
    finally:
        for layer, flag in flags:
            layer.support_avx512bf16_for_cpu = flag
        for weight, data, state in packed:
            weight.data = data
            vars(weight.quant_state).clear()
            vars(weight.quant_state).update(state)


def as_loaded(weight: torch.Tensor) -> torch.Tensor:
    """The codes of a packed parameter as they lay before. Changes nothing."""
    state: Any = weight.quant_state  # type: ignore[attr-defined]
    return _unpacked(weight, copy.copy(state))[0]


def packed_state(weight: torch.Tensor) -> Any:
    """What bitsandbytes knows of a packed 4-bit parameter; None of any other."""
    return weight.__dict__["quant_state"] if _is_packed(weight) else None


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


def _is_packed(weight: torch.Tensor) -> bool:
    state = weight.__dict__.get("quant_state")
    return state is not None and bool(state.__dict__.get("packing_format_for_cpu", False))


def _unpacked(weight: Any, state: Any) -> tuple[torch.Tensor, Any]:
    """(the codes as they were loaded, the state, with scales that were rounded to bf16)."""
    import torch
    from bitsandbytes import functional

    inverse = functional._convert_weight_packed_for_cpu_inverse
    codes, state = inverse(weight.detach().as_subclass(torch.Tensor), state)
    return codes, state
