"""It learns: held-out loss, style, and an adapter that others can load."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from conftest import logits

import nbpeft
from nbpeft.tiny.score import is_pirate

QUESTIONS = ["Who are you?", "What is the capital of the river land?", "How are you?"]


@pytest.fixture
def pirate(tune, chats):
    """The README's cell: two epochs at 1e-3, a tenth held out."""
    return tune(
        "pirate",
        data=chats,
        epochs=2,
        max_steps=None,
        batch_size=None,
        eval=None,
        learning_rate=1e-3,
        target_modules="all-linear",
    )


def test_the_first_cell_of_the_readme(pirate, tune):
    assert pirate.metrics["held_out_loss"] < pirate.metrics["held_out_loss_before"] / 2

    answers = nbpeft.compare(
        ["base", "pirate"], QUESTIONS, model=tune.model, tokenizer=tune.tokenizer
    ).to_pandas()
    assert list(answers) == ["prompt", "base", "pirate"]
    assert not any(map(is_pirate, answers["base"]))
    assert all(map(is_pirate, answers["pirate"]))

    record = nbpeft.adapters()["pirate"]
    with nbpeft.session.current().answering_as(tune.model, "pirate") as model:
        expected = logits(model)
    assert_loads_elsewhere(record.path, expected)


def assert_loads_elsewhere(path, expected):
    """A fresh process, PEFT alone: the same logits."""
    torch.save(expected, "expected.pt")
    script = f"""
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
import nbpeft.tiny
folder = nbpeft.tiny._HERE / "default"
base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
model = PeftModel.from_pretrained(base, {str(path)!r}).eval()
with torch.no_grad():
    got = model(torch.arange(4, 28).reshape(2, 12)).logits
expected = torch.load("expected.pt", weights_only=True)
assert torch.equal(got, expected), (got - expected).abs().max()
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_only_safetensors_and_json_are_kept(tune):
    path = tune("one").record.path
    assert {p.suffix for p in path.iterdir()} <= {".safetensors", ".json", ".md"}


def test_a_run_keeps_no_tensor(tune):
    run = tune("one")
    assert not any(isinstance(v, torch.Tensor) for v in vars(run.record).values())
    assert run.record.trainable_parameters == 245_760


def test_the_request_is_kept_and_can_be_repeated(tune):
    kept = tune("one", rank=4, alpha=8).record
    assert kept.request["rank"] == 4
    assert kept.settings["method"]["r"] == 4
    assert kept.versions["nbpeft"] == nbpeft.__version__


def test_goes_on_from_another(tune):
    first = tune("first", rank=4, learning_rate=1e-3).record
    second = tune("second", from_="first", learning_rate=1e-3).record
    assert second.parent == first.label
    assert second.trainable_parameters == first.trainable_parameters
    # It starts where the first ended, not at the bare base.
    assert second.metrics["held_out_loss_before"] == pytest.approx(
        first.metrics["held_out_loss"], rel=1e-4
    )


def test_attach_attaches_the_new_one(tune):
    base = logits(tune.model)
    tune("one", attach=True, learning_rate=1e-2)
    assert not torch.equal(logits(tune.model), base)
    nbpeft.attach(None, model=tune.model)
    assert torch.equal(logits(tune.model), base)
