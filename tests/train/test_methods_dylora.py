"""DyLoRA: each first part of it is an adapter of its own."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import logits
from safetensors.torch import load_file
from torch.nn import functional

import nbpeft
from nbpeft.errors import RequestError
from nbpeft.methods import methods
from nbpeft.tuners.nested import Factor

DYLORA = methods.get("dylora")
TOKENS = torch.arange(4, 28).reshape(2, 12)


def mounted(model, **settings):
    words = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "init_lora_weights": False}
    mount = DYLORA.mount(model, words | settings)
    mount.attach(model)
    return mount


@pytest.mark.parametrize("root_scaled", [False, True])
def test_a_step_at_rank_b_is_a_lora_of_rank_b(tune, root_scaled):
    mount = mounted(tune.model, use_rslora=root_scaled)
    layer = tune.model.model.layers[0].self_attn.q_proj
    x = torch.randn(2, 3, layer.in_features)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    for rank in (1, 3, 4):
        for factor in (m for m in tune.model.modules() if isinstance(m, Factor)):
            factor.use(rank)
        scale = 8 / rank**0.5 if root_scaled else 8 / rank
        expected = layer.base_layer(x) + scale * (x @ a[:rank].T @ b[:, :rank].T)
        assert torch.allclose(layer.train()(x), expected, atol=1e-5)
        whole = layer.base_layer(x) + (4.0 if root_scaled else 2.0) * (x @ a.T @ b.T)
        assert torch.allclose(layer.eval()(x), whole, atol=1e-5), "all of it, once trained"
    mount.detach(tune.model)


@pytest.mark.parametrize("frozen", [False, True])
def test_what_a_step_trains(tune, frozen):
    mount = mounted(tune.model, frozen=frozen)
    for factor in (m for m in tune.model.modules() if isinstance(m, Factor)):
        factor.use(3)
    tune.model.train()(input_ids=TOKENS, labels=TOKENS).loss.backward()
    layer = tune.model.model.layers[0].self_attn.q_proj
    rows = layer.lora_A["default"].weight.grad.abs().sum(1) > 0
    columns = layer.lora_B["default"].weight.grad.abs().sum(0) > 0
    expected = [False, False, True, False] if frozen else [True, True, True, False]
    assert rows.tolist() == columns.tolist() == expected
    mount.detach(tune.model)


def test_ranks_are_drawn_from_the_random_state_and_alike_in_all_layers(tune):
    mount = mounted(tune.model)
    factors = [m for m in tune.model.modules() if isinstance(m, Factor)]

    def drawn(count):
        for step in range(count):
            DYLORA.before_step(tune.model, step)
            used = {factor.used for factor in factors}
            assert len(used) == 1
            yield used.pop()

    torch.manual_seed(3)
    first = list(drawn(60))
    assert set(first) == {1, 2, 3, 4}
    torch.manual_seed(3)
    assert list(drawn(60)) == first
    mount.detach(tune.model)


def test_a_cut_is_a_plain_lora_of_the_first_rows(tune):
    record = tune("d", method="dylora", rank=4, learning_rate=1e-2, use_rslora=False).record
    saved = load_file(record.path / "adapter_model.safetensors")
    config = json.loads((record.path / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert "frozen" not in config
    bare = logits(tune.model)
    seen = []
    for rank in (1, 2, 4):
        mount = DYLORA.load(tune.model, record.path, rank=rank)
        mount.attach(tune.model)
        layer = tune.model.model.layers[0].self_attn.q_proj
        assert type(layer.lora_A["default"]) is torch.nn.Linear
        assert layer.scaling["default"] == 16 / rank
        key = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
        assert torch.equal(layer.lora_A["default"].weight, saved[key.format("A")][:rank])
        assert torch.equal(layer.lora_B["default"].weight, saved[key.format("B")][:, :rank])
        seen.append(logits(tune.model))
        mount.detach(tune.model)
        assert torch.equal(logits(tune.model), bare)
    nbpeft.attach("d", model=tune.model)
    assert torch.equal(seen[-1], logits(tune.model)), "the whole is the cut of the whole"
    assert not torch.equal(seen[0], seen[1])
    for rank in (0, 5):
        with pytest.raises(RequestError, match="rank 4"):
            DYLORA.cut(tune.model, record.path, rank)


MARGIN = 0.1
"""Nats of held-out loss by which a cut DyLoRA must be better than the first ranks of a plain LoRA
as that was trained (scaled by alpha/r). Scaled up to alpha/k those do far better on this easy task,
so against them it must only be better."""


def test_it_is_attached_at_any_rank(tune):
    record = tune("any", method="dylora", rank=4, learning_rate=1e-2).record
    base = logits(tune.model)
    for rank in (1, 3, 4):
        nbpeft.attach("any", rank=rank, model=tune.model)
        found = logits(tune.model)
        nbpeft.attach(None, model=tune.model)
        mount = DYLORA.cut(tune.model, record.path, rank)
        assert {len(p) for n, p in lora_a(mount)} == {rank}
        mount.attach(tune.model)
        assert torch.equal(logits(tune.model), found)
        assert not torch.equal(found, base)
        mount.detach(tune.model)
        assert torch.equal(logits(tune.model), base)


def lora_a(mount):
    pairs = (pair for swap in mount.swaps for pair in swap.adapter.named_parameters())
    return [(name, p) for name, p in pairs if "lora_A" in name]


def test_cut_small_it_is_better_than_a_plain_lora_cut_small(tune, chats):
    words = {"rank": 8, "alpha": 16, "max_steps": 12, "batch_size": 8, "learning_rate": 3e-3}
    words |= {"data": chats.select(range(300)), "eval": 0}
    nested = tune("nested", method="dylora", **words).record
    plain = tune("plain", method="lora", **words).record
    rows = list(answers(tune.tokenizer, chats.select(range(300, 340))))
    for rank in (1, 2):
        cut = DYLORA.cut(tune.model, nested.path, rank)
        theirs = DYLORA.cut(tune.model, plain.path, rank)
        ours = loss(tune.model, cut, rows)
        as_trained = loss(tune.model, theirs, rows, rank / 8)
        scaled_up = loss(tune.model, theirs, rows)
        assert ours < as_trained - MARGIN, rank
        assert ours < scaled_up, rank


def answers(tokenizer, chats):
    """Chats as tokens, and labels for the answers alone, as they are trained on."""
    for row in chats:
        found = tokenizer.apply_chat_template(
            row["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
        ids = torch.tensor(found["input_ids"])
        yield ids, torch.where(torch.tensor(found["assistant_masks"]).bool(), ids, -100)


def loss(model, mount, rows, scale=1.0):
    mount.attach(model)
    for swap in mount.swaps:
        swap.adapter.scaling["default"] *= scale
    with torch.no_grad():
        losses = [
            functional.cross_entropy(model.eval()(ids[None]).logits[0, :-1], labels[1:])
            for ids, labels in rows
        ]
    mount.detach(model)
    for swap in mount.swaps:
        swap.adapter.scaling["default"] /= scale
    return float(torch.stack(losses).mean())
