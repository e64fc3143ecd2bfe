"""Features of texts: a vector a row, from the model's body with whatever is attached to it.

What objectives over pooled features share. A reader makes a batch of texts, and vectors of a
batch: of packed rows, where trying the model said that packing changes nothing, else of
padded ones; of a soft prompt by PEFT's wrapper, which alone knows how to put it before the tokens.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from peft import PeftModel
from torch import nn

from nbpeft.mounts.heads import Classifier, Pooling, body_of, pooled
from nbpeft.seam.packing import Packed, Padded
from nbpeft.seam.probe import Choice, filler_of
from nbpeft.seam.scores import READ, Scorer

SCORED = frozenset({"scored", "labels", "shift_labels"})
"""What a batch says of the tokens that are trained."""


@dataclass(frozen=True)
class Layout:
    """Texts as token ids -> a batch that holds what is read of them, and nothing of labels."""

    collate: Packed | Padded

    def __call__(self, texts: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The batch; see `nbpeft.seam.packing`. With `ends` (rows), where each row's last token is
        in a packed one.
        """
        batch = self.collate([{"input_ids": list(text), "labels": []} for text in texts])
        ends = list(itertools.accumulate(batch["lengths"]))
        kept = {name: batch[name] for name in batch if name not in SCORED}
        return {**kept, "ends": torch.tensor(ends) - 1}


class Reader(Protocol):
    """Reads batches of one layout."""

    @property
    def layout(self) -> Layout:
        """What makes them."""

    def over(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """What must be entered around reading a batch *and* its backward pass."""

    def features(self, batch: dict[str, Any], pooling: Pooling) -> torch.Tensor:
        """(rows, width) in the body's precision."""


@dataclass(frozen=True)
class PaddedReader:
    """Reads padded batches by the body, whatever it is."""

    body: nn.Module
    filler: int

    @property
    def layout(self) -> Layout:
        """Padded on the right."""
        return Layout(Padded(self.filler))

    def over(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """Nothing: padding is masked."""
        return contextlib.nullcontext()

    def features(self, batch: dict[str, Any], pooling: Pooling) -> torch.Tensor:
        """As `Reader` has it."""
        given = {name: batch[name] for name in READ if name in batch}
        hidden = self.body(**given).last_hidden_state
        return pooled(hidden, batch["attention_mask"], pooling)


@dataclass(frozen=True)
class PackedReader:
    """Reads the rows of a batch as one sequence; a row's vector is that of its last token."""

    scorer: Scorer

    @property
    def layout(self) -> Layout:
        """One sequence."""
        return Layout(Packed())

    def over(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """Attention within rows."""
        return self.scorer.over(batch)

    def features(self, batch: dict[str, Any], pooling: Pooling) -> torch.Tensor:
        """As `Reader` has it."""
        given = {name: batch[name] for name in READ if name in batch}
        hidden = self.scorer.head.body(**given, use_cache=False).last_hidden_state
        read: torch.Tensor = hidden[0].index_select(0, batch["ends"])
        return read


@dataclass(frozen=True)
class PromptedReader:
    """Reads padded batches through PEFT's wrapper; what its body gives is looked at as it runs."""

    wrapper: PeftModel
    filler: int

    @property
    def layout(self) -> Layout:
        """Padded on the right."""
        return Layout(Padded(self.filler))

    def over(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """Nothing: padding is masked."""
        return contextlib.nullcontext()

    def features(self, batch: dict[str, Any], pooling: Pooling) -> torch.Tensor:
        """As `Reader` has it."""
        root: nn.Module = self.wrapper.get_base_model()
        seen: list[torch.Tensor] = []
        hook = body_of(root).register_forward_hook(
            lambda _module, _given, output: seen.append(output.last_hidden_state)
        )
        ids, mask = batch["input_ids"], batch["attention_mask"]
        known = inspect.signature(root.forward).parameters
        # One position's logits are made for nothing, and not all.
        words: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        words |= {"use_cache": False} if "use_cache" in known else {}
        try:
            self.wrapper(input_ids=ids, attention_mask=mask, **words)
        finally:
            hook.remove()
        # The prompt's own positions come first.
        return pooled(seen[-1][:, -ids.shape[1] :], mask, pooling)


def is_prompted(model: nn.Module) -> bool:
    """Whether a soft prompt is put before the tokens."""
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def reader_of(model: nn.Module, choice: Choice | None = None) -> Reader:
    """What reads texts by a model with its adapter in.

    Args:
        model: transformers' own, PEFT's around it, or a classifier around its body.
        choice: what trying it came to, where rows may be packed; None for padded ones.
    """
    if isinstance(model, Classifier):
        return PaddedReader(model.body, filler_of(model))
    root = model.get_base_model() if isinstance(model, PeftModel) else model
    if isinstance(model, PeftModel) and is_prompted(model):
        return PromptedReader(model, filler_of(root))
    if choice is not None and choice.way == "packed" and choice.scorer is not None:
        return PackedReader(choice.scorer)
    return PaddedReader(body_of(root), filler_of(root))
