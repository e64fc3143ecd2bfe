"""Continued pretraining: the next token of raw text, in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import Architecture
from nbpeft.objectives import Objective, objectives
from nbpeft.objectives.sft import RESERVED, SFT
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from nbpeft.data import Mix, Rows, Source


class Text(SFT):
    """SFT's batch and loss over raw text that is joined and cut into blocks, all of it trained."""

    def on(self, architecture: Architecture) -> Objective:
        """Decoders only: they write on from a text."""
        return self

    def rows(
        self,
        source: Source | Mix,
        tokenizer: Any,
        *,
        columns: Mapping[str, str] | None,
        eval: float | Source | Mix | None,
        max_length: int,
        loss_on: LossOn,
    ) -> Rows:
        """Raw text as blocks of `max_length` tokens; `loss_on` has nothing to choose from."""
        from nbpeft import data

        return data.texts(source, tokenizer, columns=columns, eval=eval, max_length=max_length)


objectives.add(
    Text(
        name="text",
        # Radford et al. 2018, "Improving language understanding by generative pre-training"
        summary="the next token of raw text (continued pretraining)",
        gives=frozenset({"causal logits"}),
        defaults={"dataset_kwargs": {"skip_prepare_dataset": True}},
        reserved=RESERVED,
        signal="text",
        unit="nats per token",
    )
)
