"""Base parameters that PEFT sets aside and puts back in every forward, their values untouched.

A mixture's experts and its router are bare parameters, not linear layers (Mixtral, Qwen3-MoE).
PEFT's LoRA on those (`ParamWrapper`) registers a parametrization for each forward and removes it
after, and torch counts that as writing into the parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn


class Proxied:
    """Notes such parameters of some models; `restore` forgets writes that changed no value."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        from peft.tuners.lora.layer import ParamWrapper

        layers = [m for model in models for m in model.modules() if isinstance(m, ParamWrapper)]
        found = [p for layer in layers for p in layer.get_base_layer().parameters(recurse=False)]
        self._tensors = tuple({id(p): p for p in found}.values())
        self._sums = [_sum(p) for p in self._tensors]
        self._versions = _versions_kept(self._tensors)

    def restore(self) -> None:
        """Put the counts of writes back, unless a value has changed."""
        if self._tensors and [_sum(p) for p in self._tensors] == self._sums:
            self._versions.__exit__(None, None, None)


def _sum(tensor: torch.Tensor) -> float:
    """Of all values, which no step of an optimizer leaves as it was."""
    import torch

    most = torch.float32 if tensor.device.type == "mps" else torch.float64
    return float(tensor.detach().sum(dtype=most))


def _versions_kept(tensors: tuple[torch.Tensor, ...]) -> Any:
    import torch

    return torch.autograd._unsafe_preserve_version_counter(tensors)  # noqa: SLF001
