"""Optimizers by name: refused early, run, finished bit for bit, and none sees another's run."""

from __future__ import annotations

import pytest
import torch
from conftest import differences, state_of
from safetensors.torch import load_file
from test_resume import WORDS, stopped, weights

import nbpeft
from nbpeft.errors import RequestError

BITSANDBYTES = (
    "adamw_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "lion_8bit",
    "rmsprop_bnb_8bit",
    "ademamix_8bit",
)


def needs_its_library(name):
    if name in BITSANDBYTES:
        pytest.importorskip("bitsandbytes", exc_type=ImportError)


@pytest.mark.parametrize("optim", ["adamw_torch", "sgd", "adafactor", *BITSANDBYTES])
def test_it_trains_and_leaves_the_model_as_it_was(tune, optim):
    needs_its_library(optim)
    tune.model.config.pad_token_id = None
    before = state_of(tune.model, tune.tokenizer)
    record = tune("one", optim=optim, learning_rate=1e-3).record
    assert differences(before, state_of(tune.model, tune.tokenizer)) == []
    moved = [w for n, w in weights(record).items() if "lora_B" in n]
    assert all(bool(weight.any()) for weight in moved)  # they begin at zero
    assert record.settings["trainer"]["optim"] == optim


@pytest.mark.parametrize(
    ("optim", "method"),
    [
        ("adamw_8bit", "lora"),
        ("adamw_8bit", "full"),
        ("lion_8bit", "lora"),
        ("paged_adamw_32bit", "lora"),
        ("adafactor", "lora"),
    ],
)
def test_a_stopped_run_is_finished_bit_for_bit(tune, monkeypatch, optim, method):
    needs_its_library(optim)
    dropout = 0.1 if method == "lora" else None
    words = {"optim": optim, "method": method, "max_steps": 4, "dropout": dropout}
    whole = tune("whole", **WORDS | words).record
    stopped(tune, monkeypatch, step=2, **words)
    resumed = tune("part", **WORDS | words, resume=True).record
    assert resumed.losses == whole.losses
    for path in whole.path.glob("*.safetensors"):
        one, other = load_file(path), load_file(resumed.path / path.name)
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_8bit_run_is_the_same_after_another(tune):
    """Full tuning keeps the embeddings' state in 32 bits, and they are the first parameter."""
    needs_its_library("adamw_8bit")
    # At a rank below 32 the first matrix is so small that it is kept in 32 bits anyway.
    words = {"optim": "adamw_8bit", "learning_rate": 1e-2, "eval": 0, "rank": 64}
    alone = weights(tune("alone", **words).record)
    tune("between", method="full", optim="adamw_8bit", eval=0)
    again = weights(tune("again", **words).record)
    assert all(torch.equal(again[name], weight) for name, weight in alone.items())


def test_bitsandbytes_keeps_nothing_of_a_run_and_all_that_was_there(tune):
    needs_its_library("adamw_8bit")
    from bitsandbytes.optim import GlobalOptimManager

    manager = GlobalOptimManager.get_instance()
    own = torch.nn.Parameter(torch.ones(1))
    manager.override_config(own, "optim_bits", 32)
    held = list(manager.module_weight_config_triple)
    try:
        tune("one", method="full", optim="adamw_8bit", eval=0)
        assert manager.pid2config == {id(own): {"optim_bits": 32}}
        assert (manager.index2config, manager.module_weight_config_triple) == ({}, held)
    finally:
        manager.pid2config.clear()


@pytest.fixture
def refused(tune):
    """`refused(optim=…)`: the message of a run that ended before anything was mounted."""

    def call(**words):
        before = state_of(tune.model, tune.tokenizer)
        with pytest.raises(RequestError) as error:
            tune("one", **words, dry_run=True)
        assert differences(before, state_of(tune.model, tune.tokenizer)) == []
        assert "\n" not in str(error.value)
        return str(error.value)

    return call


def test_a_name_that_is_none(refused):
    message = refused(optim="pagd_adamw_8bit")
    assert message.startswith("optim can't be 'pagd_adamw_8bit': it must be adamw_torch, ")
    assert message.endswith("Did you mean paged_adamw_8bit or paged_adamw_32bit?")


def test_a_library_that_is_not_there(refused, monkeypatch):
    import transformers.trainer_optimizer as libraries

    monkeypatch.setattr(libraries, "is_bitsandbytes_available", lambda: False)
    message = refused(optim="paged_adamw_8bit")
    assert message.startswith("The optimizer paged_adamw_8bit can't be used here: ")
    assert "pip install -U bitsandbytes" in message


@pytest.mark.parametrize(
    "words",
    [
        {"adam_beta1": 2.0},
        {"optim": "sgd", "optim_args": "momentum"},
        {"optim": "sgd", "optim_args": "momentum=-1"},
    ],
    ids=str,
)
def test_settings_that_the_optimizer_refuses(refused, words):
    assert "can't be used here" in refused(**words)


def test_a_library_without_a_kernel_for_the_device(refused, monkeypatch):
    """bitsandbytes has its 8-bit optimizers for CPUs since 0.50 only."""
    needs_its_library("adamw_8bit")
    from bitsandbytes.optim import AdamW

    def without(*_):
        raise NotImplementedError("No kernel for 'cpu'")

    monkeypatch.setattr(AdamW, "update_step", without)
    assert "adamw_8bit can't be used here: No kernel for 'cpu'; choose" in refused(
        optim="adamw_8bit"
    )


def test_the_plan_says_that_a_cpu_pages_nothing(tune):
    needs_its_library("paged_adamw_8bit")
    note = "paged_adamw_8bit pages nothing on a CPU: it works as adamw_8bit here"
    assert note in tune("one", optim="paged_adamw_8bit", dry_run=True).plan.notes
    assert note not in tune("one", optim="adamw_8bit", dry_run=True).plan.notes


def test_it_may_stand_in_the_body_of_a_cell(tune):
    needs_its_library("paged_adamw_8bit")
    from nbpeft.typed import from_cell

    request, _ = from_cell("one --data pirate", "optim: paged_adamw_8bit")
    assert request.fields == {"optim": "paged_adamw_8bit"}
    assert nbpeft.adapters() == {}
