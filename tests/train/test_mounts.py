"""Any mix of methods on one model: each answers as when it was trained, the base bit for bit."""

from __future__ import annotations

import gc
import itertools
import json
import random
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from conftest import PROBE, beside_places, biased, differences, state_of

import nbpeft
import nbpeft.session
from nbpeft.methods import methods
from nbpeft.mounts.parameters import ParametersMount
from nbpeft.objectives import objectives
from nbpeft.session import current

KINDS = ("lora", "full", "prompt", "head")


def answers(model):
    """Logits on fixed tokens, in eval mode; modes are put back."""
    modes = [(m, m.training) for m in model.modules()]
    with torch.no_grad():
        result = model.eval()(input_ids=PROBE).logits.clone()
    for module, mode in modes:
        module.training = mode
    return result


def train_by_hand(model, steps=2):
    """A user's own loop over what is trainable."""
    own = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(own, lr=0.1)
    for _ in range(steps):
        model(input_ids=PROBE).logits.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return own


def make(tune, kind):
    """An adapter of that method, trained by a run where there is an objective for it."""
    if methods.get(kind).needs - objectives.get("sft").gives:
        train_by_hand(nbpeft.attach(kind, model=tune.model, method=kind, labels=3))
        nbpeft.save(kind, model=tune.model)
    else:
        tune(kind, method=kind, learning_rate=1e-2, max_steps=2)
    model = nbpeft.attach(kind, model=tune.model)
    before = answers(model)
    nbpeft.attach(None, model=tune.model)
    return before


def test_four_kinds_live_on_one_model_in_any_order(tune):
    before, base = state_of(tune.model, tune.tokenizer), answers(tune.model)
    trained = {kind: make(tune, kind) for kind in KINDS}
    assert not differences(before, state_of(tune.model, tune.tokenizer))
    for order in itertools.permutations(KINDS):
        for kind in order:
            model = nbpeft.attach(kind, model=tune.model)
            assert torch.equal(answers(model), trained[kind]), (order, kind)
        nbpeft.attach(None, model=tune.model)
        assert torch.equal(answers(tune.model), base)
    assert not differences(before, state_of(tune.model, tune.tokenizer))


def test_every_method_on_one_model_in_random_order(tune):
    """With biases of zero, so that bitfit has something to train, too."""
    tune.model = biased(tune.model)
    before, base = state_of(tune.model, tune.tokenizer), answers(tune.model)
    trained = {method.name: make(tune, method.name) for method in methods}
    assert len({tuple(logits.flatten().tolist()) for logits in trained.values()}) == len(trained)
    order = [name for name in trained for _ in range(3)] + [None] * 10
    random.Random(0).shuffle(order)
    for name in order:
        model = nbpeft.attach(name, model=tune.model)
        wanted = base if name is None else trained[name]
        assert torch.equal(answers(model), wanted), name
    nbpeft.attach(None, model=tune.model)
    assert not beside_places(differences(before, state_of(tune.model, tune.tokenizer)))


def test_they_come_back_from_the_shelf(tune, monkeypatch):
    trained = {kind: make(tune, kind) for kind in KINDS}
    monkeypatch.setattr(nbpeft.session, "_current", None)
    for kind in KINDS:
        model = nbpeft.attach(kind, model=tune.model)
        assert torch.equal(answers(model), trained[kind]), kind


ANEW = """
import json, sys
import torch
import nbpeft

model, tokenizer = nbpeft.load_tiny()
for name, kept in json.load(sys.stdin).items():
    answering = nbpeft.attach(name, model=model)
    with torch.no_grad():
        found = answering.eval()(input_ids=torch.arange(4, 28).reshape(2, 12)).logits
    print(torch.equal(found, torch.load(kept)), name)
"""


def test_a_fresh_process_gives_the_same_logits(tune):
    kept = {}
    for name in (name for name in methods.names() if name != "bitfit"):  # Llama has no biases
        path = Path(f"{name}.pt").resolve()
        torch.save(make(tune, name), path)
        kept[name] = str(path)
    done = subprocess.run(
        [sys.executable, "-c", ANEW], input=json.dumps(kept), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"True {name}" for name in kept], done.stderr[-2000:]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trainable_is_the_adapter_alone(tune, kind):
    before, base = state_of(tune.model, tune.tokenizer), answers(tune.model)
    count = nbpeft.attach("mine", model=tune.model, method=kind, dry_run=True)
    assert count.total_parameters == sum(p.numel() for p in tune.model.parameters())
    assert not differences(before, state_of(tune.model, tune.tokenizer))
    model = nbpeft.attach("mine", model=tune.model, method=kind)
    own = train_by_hand(model)
    assert sum(p.numel() for p in own) == count.trainable_parameters
    moved = answers(model)
    nbpeft.attach(None, model=tune.model)
    assert torch.equal(answers(tune.model), base)
    record = nbpeft.save("mine", model=tune.model)
    assert record.path.is_dir()
    assert record.method == kind
    model = nbpeft.attach("mine", model=tune.model)
    assert torch.equal(answers(model), moved)


def test_a_run_between_leaves_what_is_attached(tune):
    """A soft prompt's wrapper is the model that the user holds; a run finds the model in it."""
    make(tune, "prompt")
    wrapper = nbpeft.attach("prompt", model=tune.model)
    before = answers(wrapper)
    nbpeft.finetune("other", model=wrapper, tokenizer=tune.tokenizer, data="tiny:pirate",
                    max_steps=1, eval=2)  # fmt: skip
    assert current().attached() == ["prompt@1"]
    assert nbpeft.attach("prompt", model=wrapper) is wrapper
    assert torch.equal(answers(wrapper), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_model_is_freed(tiny_pair, chats, kind):
    model, _ = tiny_pair
    nbpeft.attach("mine", model=model, method=kind)
    gone = weakref.ref(model)
    del model, tiny_pair
    gc.collect()
    # The fixture keeps its own pair; what nbpeft holds is looked at through the handle.
    handle = current()._handles[0]
    holders = [m for m in handle.mounts.values() if holds(m, gone())]
    assert holders == []


def holds(mount, root):
    seen, waiting = set(), [vars(mount)]
    while waiting:
        value = waiting.pop()
        if value is root:
            return True
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.nn.Module):
            waiting.append(vars(value))
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif hasattr(value, "__dict__") and type(value).__module__.startswith("nbpeft"):
            waiting.append(vars(value))
    return False


def test_tied_weights_are_tuned_as_one(tune):
    model = tune.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    mount = methods.get("full").mount(model, {})
    mount.attach(model)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    mount.detach(model)
    assert isinstance(mount, ParametersMount)


def test_a_fully_tuned_model_loads_with_transformers(tune):
    from transformers import AutoModelForCausalLM

    trained = make(tune, "full")
    folder = nbpeft.adapters()["full"].path
    assert torch.equal(answers(AutoModelForCausalLM.from_pretrained(folder)), trained)
