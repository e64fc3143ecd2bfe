"""Which of the kernel's tokenizers is a model's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PADDED = 0.05
"""How much longer than its vocabulary an output layer may be made, for speed: a share,"""
LEAST_PADDED = 128
"""or so many tokens."""


def tokenizer_of(
    model: Any, variables: Mapping[str, Any], first: Iterable[Any] = (), *, padded: bool = False
) -> Any | None:
    """The tokenizer that was loaded from where the model was, or the first that fits; None.

    Args:
        first: those that are looked at before the kernel's.
        padded: whether a model with many more outputs than a tokenizer has tokens is another's.
    """
    from transformers import PreTrainedTokenizerBase

    own = [v for v in variables.values() if isinstance(v, PreTrainedTokenizerBase)]
    named = [t for t in own if t.name_or_path and t.name_or_path == model.name_or_path]
    size = outputs_of(model)
    fitting = [t for t in (*first, *own) if fits(t, size) or (not padded and len(t) <= size)]
    return next(iter(named or fitting), None)


def outputs_of(model: Any) -> int:
    """How many tokens a model tells apart."""
    layer = model.get_output_embeddings() or model.get_input_embeddings()
    return int(layer.weight.shape[0])


def fits(tokenizer: Any, size: int) -> bool:
    """Whether so many outputs are a tokenizer's tokens, and no more than it is padded by."""
    most = len(tokenizer) + max(LEAST_PADDED, int(PADDED * len(tokenizer)))
    return len(tokenizer) <= size <= most
