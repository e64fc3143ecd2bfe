"""Random models of two layers, one of each architecture that is tuned, over the tiny tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

VOCABULARY, WIDTH, WINDOW = 1024, 32, 128
ENDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
LLAMA = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": WINDOW,
}
GROUPED = LLAMA | {"num_key_value_heads": 1}
T5 = {
    "d_model": WIDTH,
    "d_kv": 16,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 2,
    "dropout_rate": 0.0,
}

SHAPES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", GROUPED),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", GROUPED),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", GROUPED | {"head_dim": 16}),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": WINDOW},
    ),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", LLAMA),
    "phi": ("PhiConfig", "PhiForCausalLM", LLAMA),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", GROUPED),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", GROUPED | {"head_dim": 16}),
    "mistral": ("MistralConfig", "MistralForCausalLM", GROUPED),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", GROUPED | {"num_local_experts": 2}),
    "t5": ("T5Config", "T5ForConditionalGeneration", T5 | {"decoder_start_token_id": 0}),
    "bert": ("BertConfig", "BertModel", LLAMA),
}
"""Name -> config, model, and what makes it small."""

WRITE = tuple(name for name in SHAPES if name != "bert")
"""Those that write text."""


def build(name: str) -> Any:
    """A model with random weights, the same each time, in eval mode."""
    config, model, small = SHAPES[name]
    settings = getattr(transformers, config)(vocab_size=VOCABULARY, **ENDS, **small)
    return _built(lambda: getattr(transformers, model)(settings))


def outputs(model: Any) -> torch.Tensor:
    """What a model gives for fixed tokens: logits, or the features of a model that writes none.

    In eval mode; modes are put back.
    """
    ids = torch.arange(3, 17).reshape(2, 7)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids[:, :5]
    modes = [(m, m.training) for m in model.modules()]
    with torch.no_grad():
        output = model.eval()(**inputs)
    for module, mode in modes:
        module.training = mode
    found = output["logits"] if "logits" in output else output["last_hidden_state"]
    return found.clone()


def build_vit() -> Any:
    """A model that reads pictures."""
    config = transformers.ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=16,
        patch_size=8,
    )
    return _built(lambda: transformers.ViTModel(config))


def build_llava() -> Any:
    """A model that reads pictures beside text."""
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
            image_size=16,
            patch_size=8,
        ),
        text_config=transformers.LlamaConfig(vocab_size=VOCABULARY, **GROUPED),
    )
    return _built(lambda: transformers.LlavaForConditionalGeneration(config))


def _built(make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()
