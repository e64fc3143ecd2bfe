"""The fit check: what a run takes is told beforehand, and one that doesn't fit isn't begun."""

from __future__ import annotations

import architectures
import pytest
import torch
from conftest import biased, differences, has_biases, state_of
from shells import new_shell
from torch._subclasses.fake_tensor import FakeTensor
from transformers import PreTrainedTokenizerBase

import nbpeft
from nbpeft import variables
from nbpeft.errors import RunError
from nbpeft.fitting import check, forecast, heap
from nbpeft.fitting.live import Live
from nbpeft.methods import methods
from nbpeft.places import watch
from nbpeft.request import Request

METHODS = [m.name for m in methods if m.needs <= {"causal logits"}]
SMALL = 1_000_000
"""Bytes: token ids, masks and positions of a batch, and a layer that an optimizer is tried on."""
WORDS = {"max_steps": 1, "batch_size": 4, "eval": 8, "per_device_eval_batch_size": 4}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(forecast, "_known", {})


@pytest.fixture
def ask(tune, chats):
    """`ask(method="lora", …)` of the test's own tiny model."""

    def fit(data=chats, **words):
        if words.get("method") == "bitfit" and not has_biases(tune.model):
            tune.model = biased(tune.model)
        return nbpeft.fit("it", data, model=tune.model, tokenizer=tune.tokenizer,
                          **WORDS | words)  # fmt: skip

    return fit


@pytest.fixture
def room(monkeypatch):
    """`room(1_000_000)`: so much memory is free."""

    def free(size):
        monkeypatch.setattr(check, "free_memory", lambda _: int(size))

    return free


class Counted(Live):
    """Counts what a real run makes; the same count, of tensors that are there."""

    def __init__(self):
        super().__init__(None, None)

    def _result(self, func, args, kwargs):
        return func(*args, **kwargs)

    def count(self, tensor, *, blank=False):
        if not isinstance(tensor, FakeTensor) and not tensor.is_meta:
            super().count(tensor, blank=blank)


def counted(tune, monkeypatch, **words):
    """Bytes alive at the most in a real run's steps, beside what lay there when they began."""
    live, seen = Counted(), {}
    begin, log = watch.Watch.on_step_begin, watch.Watch.on_log

    def on_step_begin(watch, *args, **kwargs):
        if not seen:
            live.forget_peak()
            seen["before"] = live.alive
        begin(watch, *args, **kwargs)

    def on_log(watch, *args, **kwargs):
        seen["peak"] = live.peak.total
        log(watch, *args, **kwargs)

    with monkeypatch.context() as patched, live:
        patched.setattr(watch.Watch, "on_step_begin", on_step_begin)
        patched.setattr(watch.Watch, "on_log", on_log)
        tune("it", **words)
    return seen["peak"] - seen["before"]


def same_rows(chats):
    """Rows of one length: every batch is the largest."""
    return chats.select([0] * 8)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_foreseen_is_what_a_step_makes(tune, ask, chats, monkeypatch, method):
    monkeypatch.setattr(heap, "Heap", lambda: None)  # what is alive, however it is laid out
    words = {"method": method, "dropout": None, "data": same_rows(chats), "eval": 0}
    words |= {"max_steps": 4}  # AdaLoRA shrinks over some steps
    if method == "dylora":  # else how many of its ranks a step uses is drawn; foreseen are all
        words["rank"] = 1
    fit = nbpeft_fit(tune, method, words)
    made = counted(tune, monkeypatch, **WORDS | words)
    foreseen = fit.traced.peak - fit.traced.weights - fit.traced.adapter
    assert foreseen == pytest.approx(made, rel=0.05)


def nbpeft_fit(tune, method, words):
    if method == "bitfit":
        tune.model = biased(tune.model)
    return nbpeft.fit("it", model=tune.model, tokenizer=tune.tokenizer, **WORDS | words)


@pytest.mark.parametrize("words", [
    {"method": "full"},
    {"method": "prefix"},
    {"method": "qlora"},
    {"gradient_checkpointing": True, "gradient_accumulation_steps": 3},
    {"init_lora_weights": "pissa"},
])  # fmt: skip
def test_asking_changes_nothing_and_allocates_nothing(tune, ask, words):
    before = state_of(tune.model, tune.tokenizer)
    live = Counted()
    live.count_all(tune.model)
    there = live.alive
    with live:
        ask(**words)
    assert live.peak.total - there < SMALL
    assert differences(before, state_of(tune.model, tune.tokenizer)) == []


def test_each_part_is_where_it_should_be(ask):
    lora, full = ask().traced, ask(method="full").traced
    weights = full.weights
    assert lora.weights == weights
    assert full.adapter == pytest.approx(weights, rel=0.01)  # a copy: the base is kept
    assert full.optimizer == pytest.approx(2 * full.adapter, rel=0.01)  # Adam's two moments
    assert lora.optimizer == pytest.approx(2 * lora.adapter, rel=0.01)


def test_what_makes_a_run_smaller_makes_the_figure_smaller(ask, chats):
    plain = ask(batch_size=8).traced
    alike = {"data": same_rows(chats), "eval": 0}
    whole, half = (ask(batch_size=n, **alike).traced.activations for n in (8, 4))
    assert half == pytest.approx(whole / 2, rel=0.05)
    checkpointed = ask(batch_size=8, gradient_checkpointing=True).traced
    assert checkpointed.activations < 0.5 * plain.activations
    assert ask(batch_size=8, max_length=40).traced.peak < plain.peak


def test_held_out_rows_count_where_they_take_more(ask):
    words = {"batch_size": 1, "gradient_checkpointing": True, "eval": 64}
    few, many = (ask(**words, per_device_eval_batch_size=n) for n in (1, 64))
    assert (few.traced.in_evaluation, many.traced.in_evaluation) == (False, True)
    assert many.traced.peak > few.traced.peak


def test_asking_again_costs_nothing(tune, ask, monkeypatch):
    first = ask()
    monkeypatch.setattr(forecast, "_traced", None)
    assert ask().traced == first.traced
    with pytest.raises(RunError, match="not callable"):  # it would be traced
        ask(rank=3)


def test_a_run_that_does_not_fit_is_not_begun(tune, ask, room):
    fit = ask()
    room(0.9 * fit.needed)
    before = state_of(tune.model, tune.tokenizer)
    with pytest.raises(RunError, match="is free; type --gradient-checkpointing true") as refusal:
        tune("it", fit="check", **WORDS)
    assert "\n" not in str(refusal.value)
    assert differences(before, state_of(tune.model, tune.tokenizer)) == []
    assert dict(nbpeft.adapters()) == {}
    assert tune("it", fit="off", **WORDS).record is not None


def test_what_the_error_says_to_type_is_enough(tune, ask, room):
    room(0.9 * ask().needed)
    remedy = ask().remedy
    words = {**WORDS, **remedy.words}
    run = tune("it", fit="check", **words)
    assert run.plan.memory.needed == remedy.needed < run.plan.memory.free


def test_auto_takes_the_change_and_says_so(tune, ask, room):
    room(0.5 * ask().needed)
    advised = ask().remedy.words
    run = tune("it", fit="check", auto=True, **WORDS)
    trainer = run.record.settings["trainer"]
    rows = trainer["per_device_train_batch_size"] * trainer["gradient_accumulation_steps"]
    assert rows == 4
    shown = {s.name: (s.value, s.origin) for s in run.plan.settings}
    assert advised
    assert all(shown[word] == (value, "fit") for word, value in advised.items())
    assert "was chosen" in run.plan.notes[-1]
    assert run.plan.memory.needed <= run.plan.memory.free


def test_remedies_go_by_what_they_cost(ask, room):
    plain, checkpointed = ask(), ask(gradient_checkpointing=True)
    room(plain.needed)  # short of the margin
    assert list(ask().remedy.words) == ["gradient_checkpointing"]
    room(checkpointed.needed)
    assert {"batch_size", "gradient_accumulation_steps"} <= ask().remedy.words.keys()
    assert not {"max_length", "quantize"} & ask().remedy.words.keys()


def test_rows_are_cut_where_nothing_else_helps(ask, room):
    rows = [{"prompt": "Who?", "completion": "The old king, " * n} for n in [90] * 3 + [1] * 5]
    least = {"data": rows, "eval": 0, "batch_size": 1, "gradient_checkpointing": True}
    room(0.6 * min(ask(**least, quantize=kind).needed for kind in ("nf4", None)))
    refused = ask(data=rows, eval=0)
    assert "max_length" in refused.remedy.words
    assert refused.remedy.cut == 3
    assert "cuts 3 rows" in refused.line


def test_prefix_tuning_is_not_told_to_checkpoint(ask, room):
    fit = ask(method="prefix")
    room(0.8 * fit.needed)
    assert next(iter(ask(method="prefix").remedy.words)) == "batch_size"


def test_where_nothing_helps_it_is_said(tune, ask, room):
    room(1000)
    with pytest.raises(RunError, match="no smaller setting fits either"):
        tune("it", fit="check", auto=True, **WORDS)


def test_a_dry_run_shows_it_and_raises_nothing(tune, ask, room):
    room(0.9 * ask().needed)
    plan = tune("it", fit="check", dry_run=True, **WORDS).plan
    assert "--gradient-checkpointing true" in plan.notes[-1]
    assert plan.memory.needed > plan.memory.free


def test_little_left_over_is_noted(tune, ask, room):
    room(1.1 * ask().needed)
    assert "memory will be short" in tune("it", fit="check", **WORDS).plan.notes[-1]
    room(10 * ask().needed)
    assert "memory" not in " ".join(tune("it", fit="check", **WORDS).plan.notes)


def test_a_model_that_cannot_be_traced_is_trained_all_the_same(tune, ask, monkeypatch):
    def fails(*_):
        raise NotImplementedError("no fake kernel")

    monkeypatch.setattr(forecast, "_traced", fails)
    run = tune("it", fit="check", **WORDS)
    assert (run.plan.memory, run.metrics["steps"]) == (None, 1)
    assert "can't be predicted (NotImplementedError: no fake kernel)" in run.plan.notes[-1]
    with pytest.raises(RunError, match="can't be predicted"):
        ask()


@pytest.mark.parametrize("optim", ["adamw_8bit", "sgd", "adafactor"])
def test_other_optimizers_are_known(ask, optim):
    adam, other = ask(method="full"), ask(method="full", optim=optim)
    assert other.traced.optimizer < 0.4 * adam.traced.optimizer


@pytest.mark.parametrize("name", [n for n in architectures.WRITE if n != "mixtral"])
def test_every_architecture_is_foreseen(tune, name):
    model = architectures.build(name)
    assert isinstance(tune.tokenizer, PreTrainedTokenizerBase)
    pairs = [{"prompt": "Who?", "completion": "The old king, of course."}] * 12
    fit = nbpeft.fit("it", pairs, model=model, tokenizer=tune.tokenizer, **WORDS | {"eval": 2})
    assert fit.traced.activations > 0
    assert fit.traced.weights == sum(
        p.numel() * p.element_size() for p in (*model.parameters(), *model.buffers())
    )


def test_the_magic_shows_it(tune, chats, monkeypatch):
    shell = new_shell()
    shell.run_line_magic("load_ext", "nbpeft")
    shell.user_ns |= {"model": tune.model, "tokenizer": tune.tokenizer, "chats": chats}
    namespace = shell.user_ns
    monkeypatch.setattr(variables, "namespace", lambda: namespace)
    fit = shell.run_line_magic("peft_fit", "--data chats --rank 4 --eval 0")
    assert (fit.name, fit.fits) == ("fit", True)
    assert "such a run fits" in repr(fit)
    assert "activations" in repr(fit)
    in_cell = shell.run_cell_magic("peft_fit", "p --data chats", "rank: 4\neval: 0")
    assert (in_cell.name, in_cell.traced) == ("p", fit.traced)
    assert Request("x").fit == "check"
    assert torch.is_grad_enabled()
