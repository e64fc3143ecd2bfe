"""Several LoRA adapters and the base in one forward: each group of a batch's rows as another.

The base's product is computed once for all rows; each adapter adds its own `B(A(x))·scaling` to its
rows. The A and B are the mounts' own, so nothing is copied. Which adapters this gives the right
numbers for is a list of what was looked at, not a guess: PEFT's own `adapter_names` is silently
ignored by several types and refused by others.
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


class NotTogetherError(Exception):
    """A layer got its rows in another shape than a batch: they must be asked one after another."""


class Pair(NamedTuple):
    """One adapter's part in one place."""

    group: int
    """Which of the equal parts of a batch's rows is this adapter's."""
    a: torch.Tensor
    b: torch.Tensor
    scaling: float


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
    try:
        for place, base in places.items():
            put(root, *place, TogetherLinear(base, len(columns), pairs[place]))
        yield
    finally:
        for place, base in places.items():
            put(root, *place, base)


class TogetherLinear(nn.Module):
    """A base linear layer whose rows are answered as the base or as one of several adapters."""

    def __init__(self, base: nn.Module, groups: int, pairs: list[Pair]) -> None:
        super().__init__()
        self.base_layer = base
        self._groups = groups
        self._pairs = pairs  # in a list, so that they aren't taken for modules of the tree

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, tokens, in) -> (rows, tokens, out); the first rows are the first group's."""
        if x.dim() != 3 or x.shape[0] % self._groups:
            raise NotTogetherError(tuple(x.shape))
        result: torch.Tensor = self.base_layer(x)
        rows = x.shape[0] // self._groups
        for group, a, b, scaling in self._pairs:
            own = slice(group * rows, (group + 1) * rows)
            inner = functional.linear(x[own].to(a.dtype), a)
            if b.dtype == result.dtype:
                flat = result[own].view(-1, result.shape[-1])
                flat.addmm_(inner.flatten(0, 1), b.t(), alpha=scaling)
            else:  # as PEFT adds it: in the adapter's precision, then rounded to the base's
                result[own] += functional.linear(inner, b) * scaling
        return result


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
