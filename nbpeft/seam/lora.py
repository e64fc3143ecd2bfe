"""A LoRA layer as one operation, with the weights of the adapter in fp32.

PEFT's layer is six operations with a tensor of the output's size between most of them, and saves
its input twice. Here base and adapter are one autograd function: it saves the input once, in the
dtype of the products, and the product with A, of the rank's width (Hu et al. 2021,
arXiv:2106.09685, equation 3).
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from nbpeft.seam.casting import frozen, multiplied_by, plain


@contextlib.contextmanager
def fused(model: nn.Module) -> Iterator[int]:
    """Inside, PEFT's plain LoRA layers run as one operation; gives how many do.

    Layers of another kind (DoRA and other variants, quantized, several active adapters, dropout in
    training, a trained base weight) run as they are, and so does a layer whenever it is merged or
    its adapter switched off. Sums are rounded otherwise than PEFT's.
    """
    layers = [layer for layer in model.modules() if _fusable(layer)]
    casts = _Casts()
    try:
        for layer in layers:
            layer.forward = _Forward(layer, casts)
        yield len(layers)
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _fusable(layer: nn.Module) -> bool:
    """What doesn't change in a run: its kind and that of its parts (DyLoRA's factors differ)."""
    return (
        type(layer) is Linear
        and "forward" not in layer.__dict__
        and plain(layer.base_layer)
        and all(plain(factor) for factor in (*layer.lora_A.values(), *layer.lora_B.values()))
    )


class _Forward:
    """The forward of a LoRA layer."""

    def __init__(self, layer: Any, casts: _Casts) -> None:
        self._layer = layer
        self._casts = casts

    def __call__(self, given: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        layer = self._layer
        name = self._adapter()
        if name is None or args or named:
            return type(layer).forward(layer, given, *args, **named)
        base, kind = layer.base_layer, given.device.type
        weight = multiplied_by(base, given)
        autocast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if autocast else weight.dtype
        with torch.autocast(kind, enabled=False):
            result: torch.Tensor = _Lora.apply(  # type: ignore[no-untyped-call]
                given,
                self._casts.of(given, dtype),
                weight.to(dtype),
                base.bias,
                layer.lora_A[name].weight,
                layer.lora_B[name].weight,
                layer.scaling[name],
                dtype if autocast else given.dtype,
            )
        return result

    def _adapter(self) -> str | None:
        """The one adapter that the layer answers with, where it is a plain one."""
        layer = self._layer
        active = [name for name in layer.active_adapters if name in layer.lora_A]
        if layer.disable_adapters or layer.merged or len(active) != 1:
            return None
        name: str = active[0]
        dropped = layer.training and not isinstance(layer.lora_dropout[name], nn.Identity)
        if dropped or name in layer.lora_variant or layer.lora_bias[name]:
            return None
        return name if plain(layer.base_layer) and frozen(layer.base_layer) else None


class _Casts:
    """The last input in the products' dtype: queries, keys and values are made of the same."""

    def __init__(self) -> None:
        self._of: Callable[[], torch.Tensor | None] = lambda: None
        self._version = 0
        self._cast = torch.empty(0)

    def of(self, given: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """`given` in a dtype, apart from autograd."""
        if given.dtype == dtype:
            return given.detach()
        if torch.is_inference_mode_enabled() or given.is_inference():
            return given.to(dtype)  # such tensors count no versions, and can't be saved
        version: int = given._version
        known = self._of() is given and self._version == version
        if not known or self._cast.dtype != dtype:
            self._of, self._version = weakref.ref(given), version
            self._cast = given.detach().to(dtype)
        return self._cast


class _Lora(torch.autograd.Function):
    """y = x Wᵀ + bias + scaling · (x Aᵀ) Bᵀ."""

    @staticmethod
    def forward(  # noqa: PLR0917  autograd hands them over by position
        ctx: Any,
        _given: torch.Tensor,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ a.to(rows.dtype).T
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scaling, ctx.shape, ctx.dtype = scaling, x.shape, _given.dtype
        y = functional.linear(rows, weight, None if bias is None else bias.to(rows.dtype))
        y.addmm_(low, b.to(rows.dtype).T, alpha=scaling)
        return y.to(dtype).view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        rows, low, weight, a, b = ctx.saved_tensors
        dy = upstream.reshape(-1, upstream.shape[-1]).to(rows.dtype)
        d_low = (dy @ b.to(dy.dtype)).mul_(ctx.scaling)
        d_x = d_a = d_b = None
        if ctx.needs_input_grad[0]:
            d_x = torch.addmm(dy @ weight, d_low, a.to(dy.dtype))
            d_x = d_x.to(ctx.dtype).view(ctx.shape)
        if ctx.needs_input_grad[4]:
            d_a = (d_low.T @ rows).to(a.dtype)
        if ctx.needs_input_grad[5]:
            d_b = (dy.T @ low).to(b.dtype).mul_(ctx.scaling)
        return d_x, None, None, None, d_a, d_b, None, None
