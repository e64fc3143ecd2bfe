"""The score of every trained token of a batch: its log-probability under the model.

What objectives share. Rows become a batch (`nbpeft.seam.packing`), a batch is scored here, and a
loss is made of scores: their mean for SFT; for preferences, sums over the tokens of each row, less
those of a reference that was asked once. Scores stand in the order of the rows and their tokens.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from nbpeft.seam.attention import Attention
    from nbpeft.seam.head import Head

READ = ("input_ids", "attention_mask", "position_ids")
"""What of a batch the body reads."""


@dataclass(frozen=True)
class Scorer:
    """Scores batches of either layout by the model's body and its head."""

    head: Head
    attention: Attention

    def over(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """What must be entered around scoring a batch *and* its backward pass."""
        if "attention_mask" in batch:
            return contextlib.nullcontext()
        return self.attention.over(batch["lengths"], batch["starts"])

    def scores(self, batch: dict[str, Any]) -> torch.Tensor:
        """(trained tokens) fp32, nats; none for a batch that trains nothing."""
        given = {name: batch[name] for name in READ if name in batch}
        hidden = self.head.body(**given, use_cache=False).last_hidden_state
        wanted = hidden.flatten(0, 1).index_select(0, batch["scored"])
        return self.head.log_probs(wanted, batch["labels"])
