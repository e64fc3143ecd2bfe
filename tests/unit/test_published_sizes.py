"""What the papers say that their methods train comes out of a dry run, on shapes without weights.

Every figure stands with the conditions under which it is met; where a published number rests on a
choice, the choice is named.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import nbpeft
import nbpeft.session
from nbpeft.methods import methods


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of the test's own, as a new kernel has."""
    monkeypatch.setattr(nbpeft.session, "_current", None)


@cache
def shape(name: str) -> Any:
    """A model of a published shape on the meta device."""
    with torch.device("meta"):
        return SHAPES[name]()


SHAPES = {
    # The bare body; its pooler is a part of it.
    "bert-base": lambda: BertModel(BertConfig()),
    "bert-large": lambda: BertModel(
        BertConfig(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
        )
    ),
    "gpt2-medium": lambda: GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16)),
    # T5 1.1, which prompt tuning adapted further, and from which T0 was made.
    "t5-xxl": lambda: T5ForConditionalGeneration(
        T5Config(
            d_model=4096,
            d_kv=64,
            d_ff=10240,
            num_layers=24,
            num_heads=64,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
    ),
    # GPT-3's, built as OPT's, whose q and v are layers of their own.
    "gpt3": lambda: OPTForCausalLM(
        OPTConfig(
            hidden_size=12288,
            num_hidden_layers=96,
            ffn_dim=49152,
            num_attention_heads=96,
            max_position_embeddings=2048,
            word_embed_proj_dim=12288,
            vocab_size=50257,
        )
    ),
}


def sizes(model: str, method: str, **words: Any) -> Any:
    return nbpeft.attach("one", model=shape(model), method=method, dry_run=True, **words)


@pytest.mark.parametrize(("model", "percent"), [("bert-base", 0.09), ("bert-large", 0.08)])
def test_bitfit_on_bert(model: str, percent: float) -> None:
    """Ben Zaken et al. 2021, table 1. Bare body, the pooler counted, no classifier."""
    assert round(sizes(model, "bitfit").trainable_percent, 2) == percent


@pytest.mark.parametrize(
    ("length", "percent"),
    [(10, 0.14), (5, 0.07)],  # "0.1%": both round to it
)
def test_prefix_tuning_on_gpt2_medium(length: int, percent: float) -> None:
    """Li & Liang 2021 say 0.1%. The prefix itself: their MLP is thrown away after training."""
    found = sizes("gpt2-medium", "prefix", num_virtual_tokens=length, prefix_projection=False)
    assert round(found.trainable_percent, 2) == percent
    with_mlp = sizes("gpt2-medium", "prefix", num_virtual_tokens=length)
    assert with_mlp.trainable_parameters > 50 * found.trainable_parameters


def test_prompt_tuning_on_t5_xxl() -> None:
    """Lester et al. 2021: 20,480 for five tokens of 4,096. One stack, as they prepend it."""
    assert sizes("t5-xxl", "prompt", num_virtual_tokens=5).trainable_parameters == 20_480
    # PEFT's own default prompts encoder and decoder, and counts twice.
    both = sizes("t5-xxl", "prompt", num_virtual_tokens=5, num_transformer_submodules=2)
    assert both.trainable_parameters == 40_960


@pytest.mark.parametrize(("rank", "millions"), [(1, 4.7), (4, 18.9), (8, 37.7)])
def test_lora_on_gpt3(rank: int, millions: float) -> None:
    """Hu et al. 2021, table 4: r_q = r_v = 1 and 8, and 4 for "10,000 times fewer" (section 1)."""
    found = sizes("gpt3", "lora", rank=rank, target_modules=["q_proj", "v_proj"])
    assert round(found.trainable_parameters / 1e6, 1) == millions
    assert 170e9 < found.total_parameters < 180e9
    if rank == 4:  # in order of magnitude: 175e9 / 18.9e6 = 9,270
        assert 5_000 < found.total_parameters / found.trainable_parameters < 20_000


@pytest.mark.parametrize("train_norms", [True, False])
def test_houlsby_on_bert_large(train_norms: bool) -> None:
    """Houlsby et al. 2019, table 1: size 64 is 2.1% of the encoder's 302M (of its 24 layers).

    Norm layers are trained and counted, as the paper's section 2 has it (twice the width a norm);
    without them the figure rounds to the same.
    """
    found = sizes("bert-large", "bottleneck", train_norms=train_norms).trainable_parameters
    adapters = 2 * 24 * (2 * 64 * 1024 + 64 + 1024)
    norms = 2 * 1024 * (2 * 24 + 1)  # two in each layer, and the embeddings' one
    assert found == adapters + train_norms * norms
    assert encoder_share(found) == 2.1


def encoder_share(count: int) -> float:
    whole = sum(p.numel() for p in shape("bert-large").encoder.parameters())
    assert round(whole / 1e6) == 302
    return round(100 * count / whole, 1)


def test_houlsby_of_three_sizes_on_bert_large() -> None:
    """The same table: 3.6% is "8-256", the best size for each task out of 8, 64 and 256.

    What share has which size is not published; equal thirds of the layers are our assumption.
    """
    found = sizes("bert-large", "bottleneck", bottleneck_size=[8, 64, 256])
    assert encoder_share(found.trainable_parameters) == 3.6


def test_pfeiffer_is_half_of_houlsby() -> None:
    """Pfeiffer et al. 2020: after the feed-forward only, and no norms."""
    words = {"train_norms": False}
    whole = sizes("bert-large", "bottleneck", **words).trainable_parameters
    half = sizes("bert-large", "bottleneck", style="pfeiffer", **words).trainable_parameters
    assert 2 * half == whole


def test_ia3_on_t0() -> None:
    """Liu et al. 2022, table 1: 0.01% of T0's 11B, which is T5 1.1 XXL, tuned further."""
    found = sizes("t5-xxl", "ia3")
    # keys and values of 24 encoder and twice 24 decoder attentions, and what goes into `wo`
    assert found.trainable_parameters == 72 * 2 * 4096 + 48 * 10240
    assert round(found.total_parameters / 1e9) == 11
    assert round(found.trainable_percent, 2) == 0.01


@pytest.mark.parametrize("method", methods.names())
def test_nothing_is_allocated_for_counting(method: str) -> None:
    name = "bert-large" if method == "bitfit" else "t5-xxl"
    model = shape(name)
    before = [(n, id(p), p.requires_grad) for n, p in model.named_parameters()]
    found = sizes(name, method)
    assert found.trainable_parameters > 0
    assert before == [(n, id(p), p.requires_grad) for n, p in model.named_parameters()]
    assert all(p.is_meta for p in model.parameters())
