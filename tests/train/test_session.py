"""The session: names and versions, models that come and go, adoption, other kernels."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import weakref

import pytest
import torch
from conftest import logits
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

import nbpeft
from nbpeft.errors import AdapterError, ModelError


def weights(record):
    return load_file(record.path / "adapter_model.safetensors")


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_same_cell_twice_is_one_adapter_and_an_earlier_version(tune):
    first, second = tune("pirate").record, tune("pirate").record
    assert list(nbpeft.adapters()) == ["pirate", "pirate@1"]
    assert (first.version, second.version) == (1, 2)
    assert equal(weights(first), weights(second)), "the same seed, the same result"
    nbpeft.attach("pirate", model=tune.model)
    assert sum("lora_A" in name for name, _ in tune.model.named_parameters()) == 42


def test_another_seed_is_another_result(tune):
    assert not equal(weights(tune("a", seed=1).record), weights(tune("b", seed=2).record))


def test_earlier_versions_are_pruned(tune, monkeypatch):
    monkeypatch.setattr(nbpeft.NbPeft.instance(), "keep_versions", 1)
    for _ in range(3):
        tune("pirate", max_steps=1, eval=0)
    assert list(nbpeft.adapters()) == ["pirate", "pirate@2"]


def test_a_model_loaded_again_inherits_and_the_old_one_is_freed(tiny_pair, chats):
    namespace = {}
    namespace["model"], tokenizer = copy.deepcopy(tiny_pair)
    nbpeft.finetune("pirate", chats, model=namespace["model"], tokenizer=tokenizer,
                    max_steps=2, eval=0, attach=True, learning_rate=1e-2)  # fmt: skip
    tuned = logits(namespace["model"])
    old = weakref.ref(namespace["model"])
    weight = weakref.ref(namespace["model"].model.layers[0].self_attn.q_proj.base_layer.weight)

    namespace["model"] = copy.deepcopy(tiny_pair[0])
    gc.collect()
    assert old() is None
    assert weight() is None, "the mounts let go of the old weights too"
    nbpeft.attach("pirate", model=namespace["model"])
    assert torch.equal(logits(namespace["model"]), tuned)


def test_another_model_is_refused(tune):
    tune("pirate")
    with torch.no_grad():
        other = copy.deepcopy(tune.model)
        other.model.layers[0].mlp.up_proj.weight += 1
    with pytest.raises(AdapterError, match="another model"):
        nbpeft.attach("pirate", model=other)


def test_a_base_that_was_trained_by_hand_is_another_one(tune):
    tune("pirate")
    with torch.no_grad():
        tune.model.model.layers[0].mlp.up_proj.weight.mul_(1.5)
    with pytest.raises(AdapterError, match="another model"):
        nbpeft.attach("pirate", model=tune.model)
    assert tune("pirate").record.version == 2
    nbpeft.attach("pirate", model=tune.model)


def test_going_on_from_itself_is_refused(tune):
    tune("pirate")
    with pytest.raises(nbpeft.NbPeftError, match="itself"):
        tune("pirate", from_="pirate")


def test_a_new_kernel_finds_it_and_gives_the_same_logits(tune):
    """The kernel is killed after the run: what the next one sees is what is on the disk."""
    tune("pirate", learning_rate=1e-2)
    nbpeft.attach("pirate", model=tune.model)
    torch.save(logits(tune.model), "expected.pt")
    script = """
import torch, nbpeft
assert list(nbpeft.adapters()) == ["pirate"]
model, tokenizer = nbpeft.load_tiny()
nbpeft.attach("pirate", model=model)
with torch.no_grad():
    got = model(torch.arange(4, 28).reshape(2, 12)).logits
assert torch.equal(got, torch.load("expected.pt", weights_only=True))
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_users_peft_model_is_adopted_not_nested(tune, chats):
    base = logits(tune.model)
    theirs = get_peft_model(tune.model, LoraConfig(r=2, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    own = logits(theirs)
    keys = set(theirs.state_dict())

    run = nbpeft.finetune("pirate", chats, model=theirs, tokenizer=tune.tokenizer,
                          max_steps=2, eval=0, learning_rate=1e-2)  # fmt: skip
    assert run.record.trainable_parameters == 245_760
    assert set(theirs.state_dict()) == keys, "nothing nested, nothing lost"
    assert torch.equal(logits(theirs), own), "what was attached is attached again"
    assert set(nbpeft.adapters()) == {"pirate", "default"}

    assert nbpeft.attach("pirate", model=theirs) is theirs
    assert not torch.equal(logits(theirs), own)
    nbpeft.attach(None, model=theirs)
    assert torch.equal(logits(theirs), base)
    assert set(theirs.state_dict()) == keys, "switched off, and still whole for save_pretrained"
    nbpeft.attach("default", model=theirs)
    assert torch.equal(logits(theirs), own)


def test_the_adopted_adapter_can_be_shelved(tune):
    theirs = get_peft_model(tune.model, LoraConfig(r=2, target_modules=["q_proj"], bias="none"))
    record = nbpeft.save("default", model=theirs)
    loaded = load_file(record.path / "adapter_model.safetensors")
    assert len(loaded) == 12
    assert all(key.startswith("base_model.model.model.layers") for key in loaded)


def test_a_merged_peft_model_is_refused(tune):
    theirs = get_peft_model(tune.model, LoraConfig(r=2, target_modules="all-linear"))
    theirs.merge_adapter()
    with pytest.raises(ModelError, match="unmerge_adapter"):
        nbpeft.attach(None, model=theirs)


@pytest.mark.parametrize("name", ["a/b", "../x", "a b", "x" * 300, "<b>x</b>", "base", "NONE", ""])
def test_a_name_that_can_be_no_folder_is_refused_in_one_line(tune, name, working_folder):
    with pytest.raises(AdapterError) as refused:
        tune(name)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200
    assert list(working_folder.iterdir()) == []


def test_answering_as_is_re_entrant(tune):
    base = logits(tune.model)
    tune("a", learning_rate=1e-2)
    tune("b", learning_rate=1e-2, seed=7)
    session = nbpeft.session.current()
    with session.answering_as(tune.model, "a") as model:
        a = logits(model)
        with session.answering_as(tune.model, "b"):
            b = logits(model)
            with session.answering_as(tune.model, None):
                assert torch.equal(logits(model), base)
            assert torch.equal(logits(model), b)
        assert torch.equal(logits(model), a)
    assert torch.equal(logits(tune.model), base)
    assert not torch.equal(a, b)
