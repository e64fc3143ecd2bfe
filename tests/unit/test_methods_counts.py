"""What methods come to, counted on the meta device: figures that the papers publish."""

from __future__ import annotations

import pytest
import transformers as tf
from shapes import CONFIGS, on_meta, small

from nbpeft.methods import methods

LAYERS = ("lora", "adalora", "dylora", "ia3", "ln", "bottleneck")


def survey(model, method, **settings):
    entry = methods.get(method)
    return entry.survey(model, dict(entry.defaults) | settings)


@pytest.fixture(scope="module")
def bert_large():
    config = tf.BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )
    return on_meta(tf.BertModel, config)


def encoder_share(model, count):
    """Percent of the encoder's parameters: Houlsby et al. count against its 24 layers, 302M."""
    whole = sum(p.numel() for p in model.encoder.parameters())
    assert round(whole / 1e6) == 302
    return round(100 * count / whole, 1)


# Table 1 of Houlsby et al.: "params/task" on BERT-large. Norm layers are trained and counted, as
# the paper's section 2 has it (2d a norm); without them the figures round to the same.
@pytest.mark.parametrize("train_norms", [True, False])
def test_houlsby_of_size_64_trains_2_1_percent(bert_large, train_norms):
    found = survey(bert_large, "bottleneck", train_norms=train_norms)
    adapters = 2 * 24 * (2 * 64 * 1024 + 64 + 1024)
    norms = 2 * 1024 * (2 * 24 + 1)  # two in each layer, and the embeddings' one
    assert found.trainable_parameters == adapters + train_norms * norms
    assert encoder_share(bert_large, found.trainable_parameters) == 2.1


# 3.6% is "8-256": the best size for each task out of 8, 64, 256. What share has which size is not
# published; equal thirds of the layers are this project's assumption.
def test_houlsby_of_three_sizes_trains_3_6_percent(bert_large):
    found = survey(bert_large, "bottleneck", bottleneck_size=[8, 64, 256])
    assert encoder_share(bert_large, found.trainable_parameters) == 3.6


# Pfeiffer et al.: half of the adapters, and no norms.
def test_pfeiffer_is_half_of_houlsby(bert_large):
    words = {"train_norms": False}
    whole = survey(bert_large, "bottleneck", **words).trainable_parameters
    half = survey(bert_large, "bottleneck", **words, style="pfeiffer").trainable_parameters
    assert 2 * half == whole


# Hu et al., GPT-3 175B (96 layers, width 12,288), LoRA on query and value; built in OPT's shape.
@pytest.mark.parametrize(("rank", "millions"), [(1, 4.7), (4, 18.9), (8, 37.7)])
def test_lora_on_the_shape_of_gpt_3(gpt_3, rank, millions):
    found = survey(gpt_3, "lora", r=rank, target_modules=["q_proj", "v_proj"])
    assert round(found.trainable_parameters / 1e6, 1) == millions
    whole = sum(p.numel() for p in gpt_3.parameters())
    assert round(whole / 1e9) == 175
    if rank == 4:  # "10,000 times", in order of magnitude
        assert 3_000 < whole / found.trainable_parameters < 30_000


@pytest.fixture(scope="module")
def gpt_3():
    config = tf.OPTConfig(
        hidden_size=12288, ffn_dim=49152, num_hidden_layers=96, num_attention_heads=96,
        vocab_size=50272, max_position_embeddings=2048, word_embed_proj_dim=12288,
    )  # fmt: skip
    return on_meta(tf.OPTForCausalLM, config)


# Liu et al., Table 1: 0.01% of T0's 11B, which is T5 v1.1 XXL, tuned further.
def test_ia3_on_the_shape_of_t0():
    config = tf.T5Config(
        d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, vocab_size=32128,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    model = on_meta(tf.T5ForConditionalGeneration, config)
    found = survey(model, "ia3")
    # keys and values of 24 encoder and twice 24 decoder attentions, and what goes into `wo`
    assert found.trainable_parameters == 72 * 2 * 4096 + 48 * 10240
    whole = sum(p.numel() for p in model.parameters())
    assert round(whole / 1e9) == 11
    assert round(100 * found.trainable_parameters / whole, 2) == 0.01


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("method", LAYERS)
def test_what_is_counted_is_what_is_mounted(architecture, method):
    model, entry = small(architecture), methods.get(method)
    counted = survey(model, method)
    assert survey(small(architecture).to("meta"), method) == counted
    mount = entry.mount(model, dict(entry.defaults))
    assert mount.trainable_parameters == counted.trainable_parameters > 0
    mount.attach(model)
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trainable) == counted.trainable_parameters
