"""Continued pretraining: the next token of raw text, in blocks."""

from __future__ import annotations

from nbpeft.architectures import Architecture
from nbpeft.objectives import Objective, objectives
from nbpeft.objectives.sft import RESERVED, SFT


class Text(SFT):
    """SFT's batch and loss over raw text that is joined and cut into blocks, all of it trained."""

    def on(self, architecture: Architecture) -> Objective:
        """Decoders only: they write on from a text."""
        return self


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
