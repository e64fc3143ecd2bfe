"""Packed batches come to what rows alone come to, on every architecture, or aren't packed."""

from __future__ import annotations

import copy

import architectures
import pytest
import torch
import transformers
from conftest import biased, differences, has_biases, state_of
from peft import LoraConfig, get_peft_model
from torch._subclasses import FakeTensorMode

from nbpeft.methods import Material, methods
from nbpeft.mounts.prompts import PromptMount
from nbpeft.objectives import objectives
from nbpeft.seam import attention, probe
from nbpeft.seam.attention import Attention
from nbpeft.seam.finding import head_of
from nbpeft.seam.head import Head
from nbpeft.seam.packing import NOT_TRAINED, Packed, Padded
from nbpeft.seam.scores import Scorer

DECODERS = [name for name in architectures.WRITE if name != "t5"]
SMALL = architectures.LLAMA
OTHERS = {
    "gemma2": ("Gemma2Config", architectures.GROUPED | {"head_dim": 16, "sliding_window": 64}),
    "gemma3": (
        "Gemma3TextConfig",
        architectures.GROUPED | {"head_dim": 16, "sliding_window": 64, "num_hidden_layers": 6},
    ),
    "gpt-oss": (
        "GptOssConfig",
        architectures.GROUPED | {"head_dim": 16, "sliding_window": 64, "num_local_experts": 4},
    ),
    "cohere": ("CohereConfig", SMALL),
    "granite": ("GraniteConfig", SMALL | {"num_key_value_heads": 2, "logits_scaling": 3.0}),
    "olmo2": ("Olmo2Config", SMALL),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 2}),
    "gpt-neo": (
        "GPTNeoConfig",
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
        },
    ),
    "mamba": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2}),
}
"""Beyond those that are tuned everywhere: soft caps, windows, sinks, scales, biases, states."""
WAYS = dict.fromkeys(OTHERS, "packed") | dict.fromkeys(("bloom", "gpt-neo", "mamba"), "padded")


def other(name):
    config, small = OTHERS[name]
    made = getattr(transformers, config)(vocab_size=1024, **architectures.ENDS, **small)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(made).eval()


def with_lora(model):
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return get_peft_model(model, config).eval()


def rows_of(*lengths, seed=0):
    source = torch.Generator().manual_seed(seed)
    made = []
    for length in lengths:
        ids = torch.randint(3, 1024, (length,), generator=source).tolist()
        skipped = min(3, length)
        made.append({"input_ids": ids, "labels": [NOT_TRAINED] * skipped + ids[skipped:]})
    return made


def by_rows(model, rows):
    """Scores of every trained token, each row by itself through the model's own forward."""
    scores = []
    for row in rows:
        logs = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].float().log_softmax(-1)
        wanted = [i for i, label in enumerate(row["labels"]) if label != NOT_TRAINED]
        scores += [logs[i - 1, row["labels"][i]] for i in wanted]
    return torch.stack(scores)


def slopes(scores, model):
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.cat([g.flatten() for g in torch.autograd.grad(scores.mean(), trained)])


def scored(model, collator, rows):
    scorer = Scorer(head_of(model), Attention(model.get_base_model()))
    batch = collator(rows)
    with scorer.over(batch):
        scores = scorer.scores(batch)
        return scores, slopes(scores, model)


def same(mine, theirs):
    assert mine.shape == theirs.shape
    assert float((mine - theirs).norm() / theirs.norm()) < 1e-5


ROWS = rows_of(7, 31, 2, 12)
"""Of one nothing is trained."""


def built(name):
    model = architectures.build(name)
    # PEFT's layer over Mixtral's fused experts writes a parameter anew in each forward.
    if name != "mixtral":
        return with_lora(model)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return get_peft_model(model, config).eval()


@pytest.mark.parametrize("collator", [Packed(), Padded(0)], ids=["packed", "padded"])
@pytest.mark.parametrize("name", DECODERS)
def test_scores_and_gradients_are_those_of_rows_alone(name, collator):
    model = built(name)
    expected = by_rows(model, ROWS)
    scores, slope = scored(model, collator, ROWS)
    same(scores, expected)
    same(slope, slopes(expected, model))


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_is_packed(name):
    assert probe.choose(built(name), longest=None).way == "packed"


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_row_sees_another(name, dtype):
    model = built(name).to(dtype)
    changed = [ROWS[0], *rows_of(31, seed=5), *ROWS[2:]]
    before, after = (scored(model, Packed(), rows)[0].detach() for rows in (ROWS, changed))
    first, second = 7 - 3, 31 - 3
    tolerance = {"atol": 1e-6 if dtype == torch.float32 else 1e-2, "rtol": 0}
    torch.testing.assert_close(after[:first], before[:first], **tolerance)
    last = first + second
    torch.testing.assert_close(after[last:], before[last:], **tolerance)
    assert not torch.allclose(after[first:last], before[first:last])


@pytest.mark.parametrize("name", OTHERS)
def test_the_way_of_other_architectures(name):
    model = other(name)
    choice = probe.choose(model, longest=None)
    assert choice.way == WAYS[name], choice.why
    assert bool(choice.why) == (choice.way != "packed")
    rows = rows_of(7, 90, 12)  # beyond the windows
    collator = Packed() if choice.way == "packed" else Padded(0)
    batch = collator(rows)
    with torch.no_grad():
        expected = by_rows(model, rows)
        with choice.scorer.over(batch):
            same(choice.scorer.scores(batch), expected)


def blind(module, query, key, value, attention_mask, **words):
    """As if it had no window."""
    return attend_whole(
        module, query, key, value, attention_mask, **words | {"sliding_window": None}
    )


attend_whole = attention.attend


def test_a_window_is_looked_at_where_rows_go_beyond_it(monkeypatch):
    monkeypatch.setattr(attention, "attend", blind)
    model = other("gemma3")
    assert probe.choose(model, longest=64).way == "packed"
    choice = probe.choose(model, longest=65)
    assert choice.way == "padded"
    assert "differ by" in choice.why


def deaf(module, query, key, value, attention_mask, **words):
    """One row of all tokens: what a model does that never asks the interface."""
    attention._now.append(attention.Layout((query.shape[2],)))
    try:
        return attend_whole(module, query, key, value, attention_mask, **words)
    finally:
        attention._now.pop()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_that_see_each_other_are_not_packed(monkeypatch, dtype, tiny_pair):
    monkeypatch.setattr(attention, "attend", deaf)
    model = copy.deepcopy(tiny_pair[0]).to(dtype)
    assert probe.choose(with_lora(model), longest=None).way == "padded"


def test_that_rows_see_each_other_is_found_out_where_it_hardly_shows(monkeypatch, tiny_pair):
    monkeypatch.setattr(attention, "attend", deaf)
    monkeypatch.setattr(probe, "_difference", lambda *_, **__: "")
    choice = probe.choose(with_lora(tiny_pair[0]), longest=None)
    assert choice.way == "padded"
    assert choice.why.startswith("rows see each other")


def test_a_head_that_is_otherwise_leaves_the_plain_way(monkeypatch, tiny_pair):
    own = Head.log_probs
    monkeypatch.setattr(Head, "log_probs", lambda *a, **words: own(*a, **words) * 1.01)
    choice = probe.choose(with_lora(tiny_pair[0]), longest=None)
    assert (choice.way, choice.scorer) == ("plain", None)
    assert "differ by" in choice.why


def test_gradients_are_compared_too(monkeypatch, tiny_pair):
    own = Head.log_probs

    def detached(*given, **words):
        scores = own(*given, **words)
        return scores.detach() + 0.5 * (scores - scores.detach())

    monkeypatch.setattr(Head, "log_probs", detached)
    choice = probe.choose(with_lora(tiny_pair[0]), longest=None)
    assert choice.way == "plain"
    assert choice.why == "gradients differ by 50.0%"


def test_a_model_that_fails_is_left_to_the_run(monkeypatch, tiny_pair):
    def fail(*_, **__):
        raise ValueError("a shape\nthat can't be")

    monkeypatch.setattr(attention, "attend", fail)
    choice = probe.choose(with_lora(tiny_pair[0]), longest=None)
    assert (choice.way, choice.why) == ("padded", "a shape that can't be")


def test_trying_changes_nothing(tiny_pair):
    model, tokenizer = tiny_pair
    model.train()
    model.get_input_embeddings().weight.grad = torch.ones(1).expand(1024, 128)
    before = state_of(model, tokenizer)
    assert probe.choose(model, longest=1).way == "packed"
    assert differences(before, state_of(model, tokenizer)) == []


PROMPTS = ("prompt", "prefix", "ptuning", "ptuning-v2")


def by_sft():
    return [method.name for method in methods if method.needs <= objectives.get("sft").gives]


@pytest.mark.parametrize("method", by_sft())
def test_the_way_of_each_method(tiny_pair, method):
    model, tokenizer = tiny_pair
    if method == "bitfit" and not has_biases(model):
        model = biased(model)
    entry = methods.get(method)
    torch.manual_seed(0)
    mount = entry.mount(model, entry.scheduled(dict(entry.defaults), 10), Material(tokenizer))
    mount.attach(model)
    with mount.as_peft(model) as whole:
        choice = probe.choose(whole, longest=None)
    soft = isinstance(mount, PromptMount)
    assert soft == (method in PROMPTS)
    assert (choice.way, choice.why) == ("plain" if soft else "packed", "")


def test_a_step_needs_no_tensors_values():
    """A trace of shapes alone runs forward and backward, given the rows' lengths."""
    config = transformers.Qwen3Config(vocab_size=1024, **architectures.GROUPED)
    batch = Packed()(ROWS)
    with FakeTensorMode() as mode:
        model = transformers.Qwen3ForCausalLM(config)
        given = {
            name: mode.from_tensor(value) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }
        scorer = Scorer(Head(model.model, model.lm_head), Attention(model))
        with scorer.over(given):
            scores = scorer.scores(given)
            scores.sum().backward()
    assert scores.shape == batch["labels"].shape
    assert model.model.layers[0].mlp.up_proj.weight.grad is not None
