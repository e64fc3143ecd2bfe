"""P-tuning: embeddings before the input, made by a small network that isn't saved."""

from __future__ import annotations

from nbpeft.methods import methods
from nbpeft.methods._prompts import SoftPromptMethod

methods.add(
    SoftPromptMethod(
        name="ptuning",
        family="soft prompts",
        summary="embeddings before the input, made by a small network that isn't saved",
        paper="Liu et al. 2021, arXiv:2103.10385",
        config="PromptEncoderConfig",
        learning_rate=1e-3,
        defaults={
            "num_virtual_tokens": 20,
            "num_transformer_submodules": 1,
            "encoder_hidden_size": 128,
        },
    )
)
