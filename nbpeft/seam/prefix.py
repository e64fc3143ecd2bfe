"""What many texts begin with, read once: its keys and values, for writing and for packed rows.

A context of thousands of tokens before each prompt costs a pass over it for each; here it costs
one. Where every layer attends to all that was before, what stands after doesn't change them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from nbpeft.architectures import architecture_of


@dataclass(frozen=True, eq=False)
class Prefix:
    """Tokens, and what each layer made of them."""

    ids: tuple[int, ...]
    cache: DynamicCache
    """Of one row; never written to."""

    def begins(self, ids: Sequence[int]) -> bool:
        """Whether a text goes on from it, by one token at least."""
        return len(ids) > len(self.ids) and tuple(ids[: len(self.ids)]) == self.ids

    def copies(self, rows: int) -> DynamicCache:
        """A cache of so many rows, to be written on from."""
        new = copy.deepcopy(self.cache)
        new.batch_repeat_interleave(rows)
        return new

    def frozen(self) -> DynamicCache:
        """A cache that hands what it holds to a forward, and takes nothing in."""
        return _Frozen(self.cache)


class _Frozen(DynamicCache):
    """Keys and values of a prefix, before those of the sequence at hand."""

    def __init__(self, of: DynamicCache) -> None:
        super().__init__()
        self._held = of.layers

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, heads, prefix + tokens, width) of a layer; nothing is kept."""
        held: Any = self._held[layer_idx]
        return (
            torch.cat([held.keys.to(key_states.dtype), key_states], -2),
            torch.cat([held.values.to(value_states.dtype), value_states], -2),
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of the prefix."""
        length: int = self._held[layer_idx].get_seq_length()
        return length


def read(model: Any, ids: Sequence[int], most: int, *, rows: int = 1) -> DynamicCache | None:
    """The keys and values of tokens, in so many rows; None where that isn't exact.

    They are where every layer attends to all that was before, by positions that padding doesn't
    count in. Not so: windows, once a row has grown to `most` tokens; states of recurrent layers;
    soft prompts, which a wrapper puts before the text.
    """
    if not isinstance(model, PreTrainedModel) or architecture_of(model) != "decoder":
        return None
    if model._is_stateful:
        return None
    cache = DynamicCache(config=model.config)
    for layer in cache.layers:
        within = type(layer) is DynamicSlidingWindowLayer and most < layer.sliding_window
        if type(layer) is not DynamicLayer and not within:
            return None
    given = torch.tensor([list(ids)] * rows, device=next(model.parameters()).device)
    model.base_model(input_ids=given, past_key_values=cache, use_cache=True)  # no logits are wanted
    return cache if cache.get_seq_length() == len(ids) else None


def prefix_of(model: Any, ids: Sequence[int], most: int) -> Prefix | None:
    """What texts of up to `most` tokens begin with, read once; None where that isn't exact.

    Call it in eval mode and without gradients.
    """
    cache = read(model, ids, most)
    return None if cache is None else Prefix(tuple(ids), cache)
