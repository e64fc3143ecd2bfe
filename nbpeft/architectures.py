"""What kind of text model a model is, and so what it can be trained on.

Three kinds, after what they give: a decoder writes on (GPT-2, Llama, …), an encoder-decoder writes
an answer to a text (T5, …), an encoder gives features of a text (BERT, and any body without a head
that writes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from nbpeft.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

Architecture = Literal["decoder", "encoder-decoder", "encoder"]

SENSES = ("vision_config", "audio_config")
"""Where a config speaks of pictures or sounds that a model takes beside text."""

TASKS: dict[Architecture, str] = {
    "decoder": "CAUSAL_LM",
    "encoder-decoder": "SEQ_2_SEQ_LM",
    "encoder": "FEATURE_EXTRACTION",
}
"""PEFT's names for what its wrapper around a model of each kind does."""


def architecture_of(root: nn.Module) -> Architecture:
    """The kind of a transformers model.

    Raises:
        ModelError: it reads something else than text.
    """
    config: Any = root.config
    model: Any = root
    if model.main_input_name != "input_ids":
        raise ModelError(
            f"{type(root).__name__} reads {model.main_input_name}, not text: nbpeft tunes text "
            "models; load one with AutoModelForCausalLM.from_pretrained."
        )
    for part in SENSES:
        if getattr(config, part, None) is not None:
            raise ModelError(
                f"{type(root).__name__} sees or hears as well ({part}): nbpeft tunes text models; "
                "load one with AutoModelForCausalLM.from_pretrained."
            )
    writes = model.can_generate()
    if config.is_encoder_decoder:
        return "encoder-decoder" if writes else "encoder"
    return "decoder" if writes else "encoder"


def task_of(root: nn.Module) -> str:
    """PEFT's `task_type` for a model."""
    return TASKS[architecture_of(root)]


def window_of(root: nn.Module) -> int | None:
    """Tokens that a model has positions for; None where there is no such end (T5, Mamba)."""
    config: Any = root.config
    window: int | None = getattr(
        config.get_text_config(decoder=True), "max_position_embeddings", None
    )
    return window
