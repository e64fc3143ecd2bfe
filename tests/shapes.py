"""A random model of two layers for each architecture that nbpeft is tested on, and real shapes."""

from __future__ import annotations

import torch
import transformers as tf

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = SMALL | {"num_key_value_heads": 2}
T5 = {
    "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4, "vocab_size": 64,
    "pad_token_id": 0, "decoder_start_token_id": 0,
}  # fmt: skip
CONFIGS = {
    "llama": lambda: tf.LlamaConfig(**GROUPED),
    "qwen2": lambda: tf.Qwen2Config(**GROUPED),
    "qwen3": lambda: tf.Qwen3Config(**GROUPED, head_dim=8),
    "gpt2": lambda: tf.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=64, bos_token_id=1, eos_token_id=2
    ),
    "gpt-neox": lambda: tf.GPTNeoXConfig(**SMALL),
    "phi": lambda: tf.PhiConfig(**SMALL),
    "gemma": lambda: tf.GemmaConfig(**GROUPED, head_dim=8),
    "mistral": lambda: tf.MistralConfig(**GROUPED),
    "mixtral": lambda: tf.MixtralConfig(**GROUPED, num_local_experts=4),
    "t5": lambda: tf.T5Config(**T5),
    "bert": lambda: tf.BertConfig(**SMALL),
}
MODELS = {"t5": tf.T5ForConditionalGeneration, "bert": tf.BertModel}


def small(name):
    """A random two-layer model of an architecture."""
    torch.manual_seed(0)
    config = CONFIGS[name]()
    if name in MODELS:
        return MODELS[name](config).eval()
    return tf.AutoModelForCausalLM.from_config(config).eval()


def on_meta(kind, config):
    """A model of any size of which nothing is allocated."""
    with torch.device("meta"):
        return kind(config)


def outputs(model):
    """What a model gives for fixed tokens: logits, or features of an encoder."""
    tokens = torch.arange(4, 28).reshape(2, 12)
    more = {"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}
    modes = [(m, m.training) for m in model.modules()]
    with torch.no_grad():
        result = model.eval()(input_ids=tokens, **more)[0].clone()
    for module, mode in modes:
        module.training = mode
    return result
