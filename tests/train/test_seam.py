"""Runs by the seam: TRL's losses and weights, whatever was set; what it can't do goes TRL's way."""

from __future__ import annotations

import ctypes
import dataclasses
from types import SimpleNamespace

import architectures
import pytest
import torch
from conftest import differences, state_of
from datasets import Dataset
from safetensors.torch import load_file
from trl import SFTConfig

import nbpeft
from nbpeft.config import settings
from nbpeft.events import Noted
from nbpeft.objectives._lengths import by_length, lengths_of
from nbpeft.objectives._scored import NEUTRAL, changes_loss
from nbpeft.objectives.sft import SFT
from nbpeft.places import fast, watch
from nbpeft.precision import heap
from nbpeft.seam import attention
from nbpeft.seam.scores import Scorer

ROWS = [
    {"prompt": f"Say {word}{' please' * more}.", "completion": f"{word}, {word}{'!' * (1 + more)}"}
    for more, word in enumerate(("red", "green", "blue", "one", "two", "three", "four", "five"))
]
WORDS = {
    "data": ROWS, "max_steps": 5, "batch_size": 3, "eval": 2, "max_length": 64,
    "learning_rate": 0.5, "optim": "sgd",
}  # fmt: skip
"""By SGD: Adam's first steps make as much of rounding as of a gradient."""


@pytest.fixture(autouse=True)
def no_samples():
    settings().samples = False
    yield
    settings().samples = True


@pytest.fixture
def train(tiny_pair, monkeypatch):
    """`train("name", plainly=True, …)` goes by TRL alone; `.ways` and `.noted` of the last."""
    model, tokenizer = tiny_pair
    own = Scorer.scores

    def scores(scorer, batch):
        packed = "position_ids" in batch
        assert bool(attention._now) == packed
        call.ways.add("packed" if packed else "padded")
        return own(scorer, batch)

    monkeypatch.setattr(Scorer, "scores", scores)

    def call(name, *, plainly=False, **words):
        told, quicken = [], SFT.quicken

        def counted(objective, trainer, given):
            said = "" if plainly else quicken(objective, trainer, given)
            call.ways.clear()  # those of the trial
            return said

        with monkeypatch.context() as patched:
            patched.setattr(SFT, "quicken", counted)
            patched.setattr("nbpeft.views.choose", lambda: told.append)
            given = WORDS | {"model": call.model, "tokenizer": tokenizer} | words
            run = nbpeft.finetune(name, **given)
        call.noted = [event.text for event in told if isinstance(event, Noted)]
        return run

    call.model, call.tokenizer, call.ways, call.noted = model, tokenizer, set(), []
    return call


def weights(run):
    [path] = run.record.path.glob("*.safetensors")
    return load_file(path)


def alike(one, other):
    """Two runs: losses as they were logged, held-out losses, and the adapter."""
    assert [s for s, _ in one.record.losses] == [s for s, _ in other.record.losses]
    for mine, theirs in (
        (one.record.losses, other.record.losses),
        (one.record.held_out, other.record.held_out),
    ):
        assert [v for _, v in mine] == pytest.approx([v for _, v in theirs], rel=1e-5)
    mine, theirs = weights(one), weights(other)
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"gradient_accumulation_steps": 2, "batch_size": 2},
        {"gradient_checkpointing": True},
        {"loss_on": "all"},
        {"max_length": 14},
        {"eval": 0, "batch_size": 1},
        {"eval": 3, "per_device_eval_batch_size": 2},
        {"average_tokens_across_devices": False},
        {"use_dora": True},
        {"method": "ia3"},
        {"method": "full"},
    ],
    ids=str,
)
def test_a_run_is_trls(train, words):
    packed = train("one", **words)
    assert (train.ways, train.noted) == ({"packed"}, [])
    plain = train("two", plainly=True, **words)
    assert train.ways == set()
    alike(packed, plain)


def test_with_dropout_it_still_learns(train):
    run = train("one", dropout=0.3, max_steps=8)
    assert train.ways == {"packed"}
    assert run.metrics["held_out_loss"] < run.metrics["held_out_loss_before"]


@pytest.mark.parametrize(
    "words",
    [
        {"label_smoothing_factor": 0.2},
        {"loss_type": "dft"},
        {"neftune_noise_alpha": 5.0},
    ],
    ids=str,
)
def test_what_changes_the_loss_goes_trls_way(train, words):
    [name] = words
    words = words | {"train_sampling_strategy": "sequential"}
    one = train("one", **words)
    assert train.ways == set()
    assert [line for line in train.noted if name in line] == train.noted
    assert len(train.noted) == 1
    other = train("two", plainly=True, **words)
    assert one.record.losses == other.record.losses


def test_a_setting_that_is_newer_than_the_list_leaves_the_plain_way():
    @dataclasses.dataclass
    class Newer(SFTConfig):
        twist: float = 0.0

    assert changes_loss({"twist": 0.0, "seed": 3}, Newer) == ""
    assert changes_loss({"twist": 0.5, "seed": 3}, Newer) == "twist"


def test_every_neutral_setting_is_one_of_trls():
    assert {field.name for field in dataclasses.fields(SFTConfig)} >= NEUTRAL


def test_a_routers_loss_goes_trls_way_and_without_it_experts_are_packed(train):
    model = architectures.build("mixtral")
    words = {"model": model, "target_modules": ["q_proj", "v_proj"], "max_length": 32}
    train("one", **words)
    assert train.ways == set()
    assert "router_aux_loss_coef" in train.noted[0]
    packed = train("two", router_aux_loss_coef=0.0, **words)
    assert (train.ways, train.noted) == ({"packed"}, [])
    alike(packed, train("three", plainly=True, router_aux_loss_coef=0.0, **words))


def test_soft_prompts_are_padded_by_length_and_nobody_wonders(train):
    train("one", method="prompt")
    assert (train.ways, train.noted) == (set(), [])


def test_a_model_that_cannot_be_packed_says_so_and_has_trls_losses(train):
    import transformers

    config = transformers.BloomConfig(
        vocab_size=1024, hidden_size=32, n_layer=2, n_head=2, **architectures.ENDS
    )
    torch.manual_seed(0)
    model = transformers.BloomForCausalLM(config).eval()
    words = {"model": model, "train_sampling_strategy": "sequential", "max_length": 32}
    padded = train("one", **words)
    assert train.ways == {"padded"}
    assert len(train.noted) == 1
    assert train.noted[0].startswith("rows are padded, not packed: ")
    alike(padded, train("two", plainly=True, **words))


def test_attention_dropout_is_there(train):
    """Two runs differ by their seeds alone."""
    model = architectures.build("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1 if module is model.transformer.h[0].attn.attn_dropout else 0.0
    runs = [
        train(name, model=model, seed=seed, train_sampling_strategy="sequential", max_steps=1)
        for name, seed in (("one", 1), ("two", 2), ("three", 1))
    ]
    assert train.ways == {"packed"}
    first, second, third = (run.record.losses[0][1] for run in runs)
    assert first == third != second


@pytest.mark.parametrize("words", [{}, {"method": "prompt"}], ids=str)
def test_nothing_is_left_behind_by_an_error_in_the_middle(train, monkeypatch, words):
    model, tokenizer = train.model, train.tokenizer
    before = state_of(model, tokenizer)

    def fail(watch, arguments, state, control, **_):
        if state.global_step == 2:
            raise RuntimeError("no more")

    monkeypatch.setattr(watch.Watch, "on_step_end", fail)
    with pytest.raises(RuntimeError, match="no more"):
        train("one", **words)
    assert differences(before, state_of(model, tokenizer)) == []


def test_large_frozen_weights_are_multiplied_in_bf16_and_are_back_after(train, monkeypatch):
    inside = []
    own = Scorer.scores

    def scores(scorer, batch):
        body = scorer.head.body
        inside.append("forward" in vars(body.layers[0].self_attn.q_proj.base_layer))
        return own(scorer, batch)

    monkeypatch.setattr(Scorer, "scores", scores)
    before = state_of(train.model.float(), train.tokenizer)
    train("one", max_steps=1, eval=0)
    assert not any(inside)
    monkeypatch.setattr(fast, "WORTH_ROUNDING", 0)
    monkeypatch.setattr("nbpeft.seam.casting.fast_in_bf16", lambda _: True)
    run = train("two", max_steps=1, eval=0)
    assert inside[-1]
    assert differences(before, state_of(train.model, train.tokenizer)) == []
    expected = train("three", plainly=True, max_steps=1, eval=0)
    assert run.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-2)


def lengths(order, rows):
    return [len(rows[index]["input_ids"]) for index in order]


def test_by_length_an_epoch_holds_every_row_once_and_orders_come_from_seed_and_epoch():
    rows = Dataset.from_list([{"input_ids": [1] * (1 + 7 * i % 40)} for i in range(200)])
    rows = rows.select(range(10, 200))
    arguments = SimpleNamespace(
        seed=3, data_seed=None, train_batch_size=8, gradient_accumulation_steps=1
    )
    first, again = (by_length(rows, arguments) for _ in range(2))
    assert lengths_of(rows) == lengths(range(190), rows)
    order = list(first)
    assert sorted(order) == list(range(190))
    torch.manual_seed(99)
    assert list(again) == order
    again.set_epoch(1)
    assert list(again) != order
    spread = [max(some) - min(some) for some in batches(lengths(order, rows), 8)]
    assert sum(spread) / len(spread) < 10


def batches(values, size):
    return [values[start : start + size] for start in range(0, len(values), size)]


def test_the_heap_is_kept_inside_and_given_back_after(monkeypatch):
    told = []
    library = SimpleNamespace(
        mallopt=lambda *given: told.append(given), malloc_trim=lambda _: told.append("trim")
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(heap, "_is_glibc", lambda: True)
    with heap.kept():
        assert dict(told) == {heap.M_MMAP_MAX: 0, heap.M_TRIM_THRESHOLD: heap.UNBOUNDED}
        told.clear()
    assert told.pop() == "trim"
    assert dict(told)[heap.M_MMAP_MAX] == heap.MMAP_MAX
    told.clear()
    monkeypatch.setattr(heap, "_is_glibc", lambda: False)
    with heap.kept():
        pass
    assert told == []
