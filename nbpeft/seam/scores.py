"""The score of every trained token of a batch: its log-probability under the model.

What objectives share. Rows become a batch (`nbpeft.seam.packing`), a batch is scored here, and a
loss is made of scores: their mean for SFT; for preferences, sums over the tokens of each row, less
those of a reference that was asked once. Scores stand in the order of the rows and their tokens.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nbpeft.seam.attention import Attention
    from nbpeft.seam.head import Head, Reduction

READ = ("input_ids", "attention_mask", "position_ids", "past_key_values")
"""What of a batch the body reads."""


class Scores(Protocol):
    """Scores batches."""

    def over(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """What must be entered around scoring a batch *and* its backward pass."""

    def scores(self, batch: dict[str, Any]) -> torch.Tensor:
        """(trained tokens) fp32, nats; none for a batch that trains nothing."""

    def values(
        self, batch: dict[str, Any], reduction: Reduction, *aligned: torch.Tensor
    ) -> torch.Tensor:
        """(trained tokens, …) fp32: another value of the logits that stand before each.

        Args:
            reduction: as `nbpeft.seam.head` has it.
            aligned: what it takes beside the logits, a row a trained token.
        """


@dataclass(frozen=True)
class Whole:
    """Scores padded batches by the model's own forward, whatever it is; all logits are made."""

    model: nn.Module
    temperature: float = 1.0
    """What logits are divided by."""

    def over(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """Nothing: padding is masked."""
        return contextlib.nullcontext()

    def scores(self, batch: dict[str, Any]) -> torch.Tensor:
        """As `Scores` has it."""
        from nbpeft.seam.head import log_prob

        return self.values(batch, log_prob, batch["labels"])

    def values(
        self, batch: dict[str, Any], reduction: Reduction, *aligned: torch.Tensor
    ) -> torch.Tensor:
        """As `Scores` has it."""
        ids = batch["input_ids"]
        logits = self.model(
            input_ids=ids, attention_mask=batch["attention_mask"], use_cache=False
        ).logits
        # A soft prompt's own positions come first.
        wanted = logits[:, -ids.shape[1] :].flatten(0, 1).index_select(0, batch["scored"])
        return reduction(wanted.float() / self.temperature, *aligned)


@dataclass(frozen=True)
class Scorer:
    """Scores batches of either layout by the model's body and its head."""

    head: Head
    attention: Attention

    def over(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """What must be entered around scoring a batch *and* its backward pass."""
        if "attention_mask" in batch:
            return contextlib.nullcontext()
        keys = None
        if "keys" in batch:
            keys = batch["key_lengths"], batch["keys"], batch["key_starts"]
        prefix = batch.get("prefix", 0)
        return self.attention.over(batch["lengths"], batch["starts"], keys, prefix)

    def scores(self, batch: dict[str, Any]) -> torch.Tensor:
        """(trained tokens) fp32, nats; none for a batch that trains nothing."""
        return self.head.log_probs(self._hidden(batch), batch["labels"])

    def values(
        self, batch: dict[str, Any], reduction: Reduction, *aligned: torch.Tensor
    ) -> torch.Tensor:
        """As `Scores` has it; logits are there a chunk at a time."""
        return self.head.reduce(reduction, self._hidden(batch), *aligned)

    def _hidden(self, batch: dict[str, Any]) -> torch.Tensor:
        """(trained tokens, d) what the output layer is given."""
        given = {name: batch[name] for name in READ if name in batch}
        hidden = self.head.body(**given, use_cache=False).last_hidden_state
        return hidden.flatten(0, 1).index_select(0, batch["scored"])
