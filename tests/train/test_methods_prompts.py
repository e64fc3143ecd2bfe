"""Soft prompts: where they begin, what is kept of them, and that plain PEFT reads it."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from conftest import PROBE, differences, state_of
from peft import PeftModel
from safetensors.torch import load_file

import nbpeft
import nbpeft.session
from nbpeft.errors import RequestError
from nbpeft.methods import Material, methods

PROMPTS = ("prompt", "prefix", "ptuning", "ptuning-v2")


def answers(model):
    with torch.no_grad():
        return model.eval()(input_ids=PROBE).logits


def test_a_prompt_begins_at_the_tokens_of_a_text(tune):
    words = {"num_virtual_tokens": 7, "prompt_tuning_init_text": "Answer like a pirate"}
    mount = methods.get("prompt").mount(tune.model, words, Material(tune.tokenizer))
    ids = tune.tokenizer(words["prompt_tuning_init_text"], add_special_tokens=False)["input_ids"]
    wanted = (ids * 7)[:7]
    [prompt] = mount.trainable
    assert torch.equal(prompt, tune.model.get_input_embeddings().weight[wanted])
    run = tune("piped", method="prompt", **words)
    config = json.loads((run.record.path / "adapter_config.json").read_text())
    assert config["tokenizer_name_or_path"] is None  # no tokenizer is looked for when it is read


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"num_virtual_tokens": 0}, "must be at least 1, not 0"),
        ({"prompt_tuning_init": "TEXT"}, "wants a text"),
        ({"prompt_tuning_init_text": "a"}, "needs a tokenizer"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tune, words, said):
    with pytest.raises(RequestError, match=said):
        nbpeft.attach("mine", model=tune.model, method="prompt", **words)


@pytest.mark.parametrize("method", PROMPTS)
def test_plain_peft_reads_what_is_kept_and_answers_the_same(tune, method):
    run = tune("soft", method=method, learning_rate=1e-2)
    base = copy.deepcopy(tune.model)
    own = answers(nbpeft.attach("soft", model=tune.model))
    assert torch.equal(answers(PeftModel.from_pretrained(base, run.record.path)), own)
    [(name, kept)] = load_file(run.record.path / "adapter_model.safetensors").items()
    assert name == "prompt_embeddings"  # and no encoder
    assert len(kept) == methods.get(method).defaults["num_virtual_tokens"]


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_generating_leaves_nothing_on_the_model(tune, method):
    tune("soft", method=method)
    before = state_of(tune.model, tune.tokenizer)
    nbpeft.compare(["base", "soft"], ["Hi"], model=tune.model, tokenizer=tune.tokenizer)
    assert not differences(before, state_of(tune.model, tune.tokenizer))
    wrapper = nbpeft.attach("soft", model=tune.model)
    with torch.no_grad():
        wrapper.generate(input_ids=PROBE, max_new_tokens=2)
    nbpeft.attach(None, model=tune.model)
    assert not differences(before, state_of(tune.model, tune.tokenizer))


@pytest.mark.parametrize("method", PROMPTS)
def test_going_on_begins_where_it_ended(tune, method):
    tune("first", method=method, learning_rate=1e-2)
    run = tune("second", method=method, from_="first", max_steps=1, learning_rate=1e-9)
    one, two = (nbpeft.adapters()[name] for name in ("first", "second"))
    kept = [
        load_file(record.path / "adapter_model.safetensors")["prompt_embeddings"]
        for record in (one, two)
    ]
    assert torch.allclose(*kept, atol=1e-6)
    assert run.record.parent == "first@1"
    run = tune("third", method=method, from_="first", learning_rate=1e-2)
    third = load_file(run.record.path / "adapter_model.safetensors")["prompt_embeddings"]
    assert not torch.allclose(kept[0], third, atol=1e-4)
