"""Several LoRA adapters and the base in one forward: each group of a batch's rows as another.

The base's product is computed once for all rows; each adapter adds its own `B(A(x))·scaling` to its
rows. Adapters of neighbouring rows are stacked, so that a layer costs two batched products however
many there are; where memory has no room for the copies, each is a product of its own. Which
adapters this gives the right numbers for is a list of what was looked at, not a guess: PEFT's own
`adapter_names` is silently ignored by several types and refused by others.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn
from torch.nn import functional

from nbpeft.mounts import Mount
from nbpeft.mounts.modules import ModulesMount, Swap, follow, put
from nbpeft.room import free_memory


class NotTogetherError(Exception):
    """A layer got its rows in another shape than a batch: they must be asked one after another."""


class Pair(NamedTuple):
    """One adapter's part in one place."""

    group: int
    """Which of the equal parts of a batch's rows is this adapter's."""
    a: torch.Tensor
    b: torch.Tensor
    scaling: float


class Stack(NamedTuple):
    """The parts in one place of adapters whose rows follow one another."""

    first: int
    """The first one's part of the batch's rows."""
    a: torch.Tensor
    """(adapters, in, rank); the smaller ranks are filled up with zeros."""
    b: torch.Tensor
    """(adapters, rank, out)"""
    scaling: torch.Tensor
    """(adapters, 1, 1)"""


def can_join(mount: Mount | None) -> bool:
    """Whether a column can be answered together with others: the base, or plain LoRA and rsLoRA.

    Not: DoRA and other variants, biases or inits that rewrite base parameters, modules_to_save,
    anything but linear layers, adapters of a PeftModel of the user's own.
    """
    if mount is None:
        return True
    return isinstance(mount, ModulesMount) and all(map(_plain, mount.swaps))


@contextlib.contextmanager
def together(root: nn.Module, columns: Sequence[Mount | None]) -> Iterator[None]:
    """Inside, the bare `root` answers a batch's rows in equal groups, one a column.

    columns: what each group answers as, None is the base. Pointers only, back after whatever
    happens. A forward raises NotTogetherError where rows can't be told apart.
    """
    places: dict[tuple[str, str], nn.Module] = {}
    pairs: dict[tuple[str, str], list[Pair]] = {}
    for group, mount in enumerate(columns):
        if mount is None:
            continue
        assert isinstance(mount, ModulesMount)  # `can_join` said so
        for swap in mount.swaps:
            follow(swap.adapter, swap.base)
            place = (swap.parent, swap.child)
            places[place] = swap.base
            pairs.setdefault(place, []).append(_pair(group, swap.adapter))
    stacked = _room([pair for own in pairs.values() for pair in own])
    try:
        for place, base in places.items():
            put(root, *place, TogetherLinear(base, len(columns), pairs[place], stacked=stacked))
        yield
    finally:
        for place, base in places.items():
            put(root, *place, base)


class TogetherLinear(nn.Module):
    """A base linear layer whose rows are answered as the base or as one of several adapters."""

    def __init__(
        self, base: nn.Module, groups: int, pairs: list[Pair], *, stacked: bool = True
    ) -> None:
        super().__init__()
        self.base_layer = base
        self._groups = groups
        # In a list, so that they aren't taken for modules of the tree.
        self._stacks = [_stack(run) for run in _runs(pairs, longest=groups if stacked else 1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, tokens, in) -> (rows, tokens, out); the first rows are the first group's."""
        if x.dim() != 3 or x.shape[0] % self._groups:
            raise NotTogetherError(tuple(x.shape))
        result: torch.Tensor = self.base_layer(x)
        rows = x.shape[0] // self._groups
        for first, a, b, scaling in self._stacks:
            own = slice(first * rows, (first + len(a)) * rows)
            inner = torch.bmm(x[own].to(a.dtype).reshape(len(a), -1, a.shape[1]), a)
            out = result[own].view(len(a), -1, result.shape[-1])
            if b.dtype == result.dtype:
                out.baddbmm_(inner * scaling, b)
            else:  # as PEFT adds it: in the adapter's precision, then rounded to the base's
                out += torch.bmm(inner, b) * scaling
        return result


def _runs(pairs: Sequence[Pair], longest: int) -> list[list[Pair]]:
    """Pairs of neighbouring groups and one dtype, at most so many together."""
    runs: list[list[Pair]] = []
    for pair in pairs:
        last = runs[-1] if runs else []
        joins = last and pair.group == last[-1].group + 1 and pair.a.dtype == last[-1].a.dtype
        if joins and len(last) < longest:
            last.append(pair)
        else:
            runs.append([pair])
    return runs


def _stack(run: Sequence[Pair]) -> Stack:
    """One pair as it lies, several as a copy."""
    scaling = run[0].a.new_tensor([pair.scaling for pair in run]).view(-1, 1, 1)
    if len(run) == 1:
        (pair,) = run
        return Stack(pair.group, pair.a.t().unsqueeze(0), pair.b.t().unsqueeze(0), scaling)
    rank = max(len(pair.a) for pair in run)
    a = torch.stack([functional.pad(p.a.t(), (0, rank - len(p.a))) for p in run])
    b = torch.stack([functional.pad(p.b.t(), (0, 0, 0, rank - len(p.a))) for p in run])
    return Stack(run[0].group, a, b, scaling)


def _room(pairs: Sequence[Pair]) -> bool:
    """Whether copies of these leave three quarters of what is free to the answers."""
    needed = sum(t.numel() * t.element_size() for pair in pairs for t in (pair.a, pair.b))
    return not pairs or 4 * needed <= free_memory(pairs[0].a.device)


def _plain(swap: Swap) -> bool:
    layer: Any = swap.adapter
    return (
        (type(layer), type(swap.base)) in _kinds()
        and layer.get_base_layer() is swap.base
        and len(layer.lora_A) == 1
        and not any(layer.lora_bias.values())
        and not layer.lora_variant
        and not layer.merged
        and not layer.disable_adapters
    )


def _kinds() -> list[tuple[type, type]]:
    """PEFT's LoRA layer and the base layer under it; also in 4 bits, where each row is by itself.

    Not in 8 bits, where the outliers of one row decide how the others are computed.
    """
    kinds: list[tuple[type, type]] = [(LoraLinear, nn.Linear)]
    if "bitsandbytes" in sys.modules:
        from bitsandbytes.nn.modules import Linear4bit
        from peft.tuners.lora.bnb import Linear4bit as LoraLinear4bit

        kinds.append((LoraLinear4bit, Linear4bit))
    return kinds


def _pair(group: int, layer: Any) -> Pair:
    (name,) = layer.lora_A
    return Pair(group, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name])
