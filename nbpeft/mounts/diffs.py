"""A sparse difference to the base's weights, while it is trained (diff pruning).

A layer computes with `base + z ⊙ w`. With the L0 penalty z is drawn from a stretched concrete
distribution at each forward (Louizos et al. 2018; Guo et al. 2020, arXiv:2012.07463); in the top-k
variant it is 1. When the mask is fixed, the largest |z ⊙ w| of all layers together stay, and only
they are trained on. What is kept in the end is tuned parameters: `sparse`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nbpeft.mounts.base import BaseMount
from nbpeft.mounts.modules import Swap, follow, put
from nbpeft.mounts.sparse import SparseMount, sparse

STRETCH = (-1.5, 1.5)
"""The concrete distribution is stretched to here and cut at 0 and 1 (Guo et al., section 3.1)."""


class Diff(nn.Module):
    """The difference to one parameter."""

    mask: torch.Tensor

    def __init__(self, base: torch.Tensor, alpha: float | None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros_like(base))
        self.alpha = None if alpha is None else nn.Parameter(torch.full_like(base, alpha))
        # Empty until it is fixed: a mask of a model's size costs memory.
        self.register_buffer("mask", torch.empty(0, dtype=torch.bool, device=base.device))

    @property
    def fixed(self) -> bool:
        """Whether it is decided which values differ."""
        return self.mask.numel() > 0

    def forward(self) -> torch.Tensor:
        """The difference z ⊙ w, of the parameter's shape."""
        if self.fixed:
            return torch.where(self.mask, self.w, 0)
        return self.w if self.alpha is None else self.w * self._gate()

    def _gate(self) -> torch.Tensor:
        """z: drawn anew while training, else its middle."""
        assert self.alpha is not None
        shift = self.alpha
        if self.training:
            u = torch.rand_like(self.alpha).clamp(1e-6, 1 - 1e-6)
            shift = shift + torch.log(u) - torch.log1p(-u)
        low, high = STRETCH
        return (torch.sigmoid(shift) * (high - low) + low).clamp(0, 1)

    def expected(self) -> torch.Tensor:
        """How many values are expected to differ (the L0 norm's expectation)."""
        assert self.alpha is not None
        low, high = STRETCH
        return torch.sigmoid(self.alpha - torch.log(torch.tensor(-low / high))).sum()

    def fix(self, mask: torch.Tensor) -> None:
        """From now on exactly these values differ; they go on from where they are."""
        with torch.no_grad():
            self.w.copy_(torch.where(mask, self(), 0))
        self.mask = mask
        if self.alpha is not None:
            self.alpha.requires_grad_(False)


class DiffLayer(nn.Module):
    """A base layer that computes with its parameters plus their differences."""

    def __init__(
        self, base_layer: nn.Module, alpha: float | None, config: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.config = config
        self.diffs = nn.ModuleDict(
            {name: Diff(parameter, alpha) for name, parameter in own_parameters(base_layer)}
        )

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """As the base layer."""
        tuned = {
            name: parameter + self.diffs[name]()
            for name, parameter in own_parameters(self.base_layer)
        }
        return torch.func.functional_call(self.base_layer, tuned, inputs, named)

    def __getattr__(self, name: str) -> Any:
        # Models read a layer's weight for its type, or its sizes.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)


def own_parameters(layer: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that a layer holds itself."""
    return layer.named_parameters(recurse=False)


@dataclass(eq=False)
class DiffMount(BaseMount):
    """Differences in training; see `nbpeft.mounts.Mount` for the contract."""

    swaps: list[Swap]
    config: Mapping[str, Any]

    @property
    def diffs(self) -> list[Diff]:
        """All of them, in the order of the tree."""
        return [diff for _, diff in self._named()]

    @property
    def trainable(self) -> list[nn.Parameter]:
        """What the optimizer gets; alpha no more once the mask is fixed."""
        return [p for d in self.diffs for p in (d.w, d.alpha) if p is not None
                and not (d.fixed and p is d.alpha)]  # fmt: skip

    def put_in(self, root: nn.Module) -> None:
        """Pointers in."""
        for swap in self.swaps:
            put(root, swap.parent, swap.child, swap.adapter)
            follow(swap.adapter, swap.base)

    def take_out(self, root: nn.Module) -> None:
        """Pointers back."""
        for swap in self.swaps:
            put(root, swap.parent, swap.child, swap.base)

    def save(self, root: nn.Module, folder: Path) -> None:
        """What is kept of it."""
        self.kept(root).save(root, folder)

    def fix_to(self, differences: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Begin with these differences (name -> places, values), at these places only."""
        for name, diff in self._named():
            places, values = differences.get(name, (torch.empty(0, dtype=torch.int64), None))
            mask = torch.zeros(diff.w.numel(), dtype=torch.bool, device=diff.w.device)
            mask[places] = True
            with torch.no_grad():
                if values is not None:
                    diff.w.view(-1)[places] = values.to(diff.w.device, diff.w.dtype)
            diff.fix(mask.view(diff.w.shape))

    def _named(self) -> Iterator[tuple[str, Diff]]:
        for swap in self.swaps:
            for name, diff in swap.adapter.diffs.items():  # type: ignore[union-attr,operator]
                yield f"{swap.parent}.{swap.child}.{name}".lstrip("."), diff

    def kept(self, root: nn.Module) -> SparseMount:
        """The differences that stay, as tuned parameters over the bare base."""
        with torch.no_grad():
            values = {name: diff().detach() for name, diff in self._named()}
        self.take_out(root)
        try:
            return sparse(root, values, self.config)
        finally:
            self.put_in(root)


def build(
    root: nn.Module, paths: list[str], alpha: float | None, config: Mapping[str, Any]
) -> DiffMount:
    """Differences of zero to the parameters of the layers at these paths; alpha None: no gates."""
    swaps = []
    for path in paths:
        parent, _, child = path.rpartition(".")
        base = root.get_submodule(path)
        swaps.append(Swap(parent, child, base, DiffLayer(base, alpha, config).train(base.training)))
    return DiffMount(swaps, config)


def fix_masks(diffs: list[Diff], keep: float) -> None:
    """Let the largest differences of all stay, a share `keep` of the values, and no others."""
    with torch.no_grad():
        sizes = [diff().abs().flatten() for diff in diffs]
        total = sum(size.numel() for size in sizes)
        count = max(1, round(keep * total))
        largest = torch.cat([size.topk(min(count, size.numel())).values for size in sizes])
        least = largest.topk(count).values[-1]
        for diff, size in zip(diffs, sizes, strict=True):
            mask = (size >= least) & (size > 0)
            diff.fix(mask.view(diff.w.shape))
