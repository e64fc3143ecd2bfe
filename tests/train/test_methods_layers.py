"""Methods that are layers in place of the model's: what they train, keep, and load again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from architectures import SHAPES, build, outputs
from conftest import logits

import nbpeft
from nbpeft.methods import methods

STRONG = {"learning_rate": 1e-2, "max_steps": 3, "eval": 0}
LORAS = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "eva": {"init_lora_weights": "eva", "r": 4},
    "biases": {"bias": "all"},
    "whole": {"modules_to_save": ["norm"]},
    "patterns": {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 8}},
    "parameter": {"target_modules": ["q_proj"], "target_parameters": ["down_proj.weight"]},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "monte": {"monteclora_config": {}},
    "velora": {"velora_config": {}},
    "blocks": {
        "use_bdlora": {
            "target_modules_bd_a": ["o_proj"], "target_modules_bd_b": ["q_proj"], "nblocks": 2,
            "match_strict": False,
        }
    },
}  # fmt: skip
OTHERS = {
    "adalora": {"method": "adalora"},
    "dylora": {"method": "dylora"},
    "frozen": {"method": "dylora", "frozen": True},
    "ia3": {"method": "ia3"},
    "ln": {"method": "ln"},
    "houlsby": {"method": "bottleneck"},
    "pfeiffer": {"method": "bottleneck", "style": "pfeiffer", "train_norms": False},
}
KASA = {"kasa": {"kasa_config": {}}}

LOAD = """
import json, sys, torch
import nbpeft.tuners
from peft import PeftModel
from nbpeft.tiny import load_tiny

for folder, kept in json.load(sys.stdin).items():
    model = PeftModel.from_pretrained(load_tiny()[0], folder).eval()
    with torch.no_grad():
        found = model(torch.arange(4, 28).reshape(2, 12)).logits
    print(torch.equal(found, torch.load(kept, weights_only=True)), folder)
"""


def state(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", LORAS | KASA | OTHERS)
def test_a_method_moves_its_own_weights_and_comes_back_as_trained(tune, tiny_pair, name):
    words = (LORAS | KASA | OTHERS)[name]
    if any(word not in fields(words.get("method", "lora")) for word in words if word != "method"):
        pytest.skip("this PEFT has no such field")
    base, bare = state(tune.model), logits(tune.model)
    record = tune(name, **STRONG, **words).record
    assert all(torch.equal(t, base[key]) for key, t in tune.model.state_dict().items())

    nbpeft.attach(name, model=tune.model)
    tuned = logits(tune.model)
    assert not torch.equal(tuned, bare)
    assert all(torch.isfinite(p).all() for p in tune.model.parameters())
    nbpeft.attach(None, model=tune.model)
    assert torch.equal(logits(tune.model), bare)

    # Loaded again, over the untouched base: the very logits, whatever the method wrote meanwhile.
    mount = methods.get(record.method).load(tune.model, record.path)
    mount.attach(tune.model)
    assert torch.equal(logits(tune.model), tuned)
    assert sum(p.numel() for p in tune.model.parameters() if p.requires_grad) > 0
    mount.detach(tune.model)
    assert all(torch.equal(t, base[key]) for key, t in tune.model.state_dict().items())


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_a_start_that_is_taken_off_the_base_begins_as_the_base(tune, init):
    entry, bare = methods.get("lora"), logits(tune.model)
    settings = dict(entry.defaults) | {"init_lora_weights": init}
    mount = entry.mount(tune.model, settings)
    mount.attach(tune.model)
    assert torch.allclose(logits(tune.model), bare, atol=1e-3)
    counted = entry.survey(tune.model, settings).extra_bytes
    mount.detach(tune.model)
    assert counted > 4 * sum(p.numel() for p in mount.trainable), "the copies are counted"


def fields(method):
    return methods.get(method).config_class().__dataclass_fields__


def test_plain_peft_in_a_fresh_process_gives_the_same_logits(tune):
    folders = {}
    for name in ("pissa", "olora", "eva", "dora", *OTHERS):
        record = tune(name, **STRONG, **(LORAS | OTHERS)[name]).record
        nbpeft.attach(name, model=tune.model)
        kept = Path(f"{name}.pt").resolve()
        torch.save(logits(tune.model), kept)
        nbpeft.attach(None, model=tune.model)
        folders[str(record.path.resolve())] = str(kept)
    done = subprocess.run(
        [sys.executable, "-c", LOAD], input=json.dumps(folders), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert len(said) == len(folders), done.stderr[-2000:]
    assert [line for line in said if not line.startswith("True")] == []


def test_eva_gives_rank_to_the_layers_that_need_it(tune):
    record = tune("eva", **STRONG, init_lora_weights="eva", rank=4).record
    config = json.loads((record.path / "adapter_config.json").read_text())
    ranks = set(config["rank_pattern"].values())
    assert len(ranks) > 1
    assert max(ranks) <= 8, "rho is 2: no layer gets more than twice its rank"


def test_monteclora_adds_its_loss_once(tune):
    entry = methods.get("lora")
    mount = entry.mount(tune.model, dict(entry.defaults) | {"monteclora_config": {}})
    plain = entry.mount(tune.model, dict(entry.defaults))
    tokens = torch.arange(4, 28).reshape(2, 12)
    for one, has in ((mount, True), (plain, False)):
        one.attach(tune.model)
        with one.as_peft(tune.model) as model:
            model.train()(input_ids=tokens)
            assert (entry.penalty(model) is not None) == has
        one.detach(tune.model)


# All linear, Conv1D (GPT-2) and fused (Mixtral) layers: a step of training by hand on each.
@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("method", ["lora", "adalora", "dylora", "ia3", "ln", "bottleneck"])
def test_a_step_on_each_architecture(architecture, method, tmp_path):
    model, entry = build(architecture), methods.get(method)
    base, bare = state(model), outputs(model)
    versions = [p._version for p in model.parameters()]
    settings = entry.scheduled(dict(entry.defaults), 8)
    mount = entry.mount(model, settings)
    mount.attach(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    for step in (1, 2):
        with mount.as_peft(model) as wrapped:
            entry.before_step(wrapped, step)
        model.train()
        tokens = torch.arange(4, 28).reshape(2, 12)
        more = {"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}
        result = model(input_ids=tokens, **more)[0]
        (result * torch.linspace(-1, 1, result.shape[-1])).mean().backward()
        optimizer.step()
        with mount.as_peft(model) as wrapped:
            entry.after_step(wrapped, step)
        optimizer.zero_grad()
    kept = entry.finish(mount, model)
    if kept is not mount:
        mount.detach(model)
        kept.attach(model)
    tuned, mount = outputs(model), kept
    assert not torch.equal(tuned, bare)
    mount.save(model, tmp_path)
    mount.detach(model)
    assert torch.equal(outputs(model), bare)
    assert all(torch.equal(t, base[key]) for key, t in model.state_dict().items())
    assert [p._version for p in model.parameters()] == versions, "what the guard goes by"

    again = entry.load(model, tmp_path)
    again.attach(model)
    assert torch.equal(outputs(model), tuned)


def test_bottleneck_begins_near_the_identity_and_norms_can_stay(tune):
    entry = methods.get("bottleneck")
    bare = logits(tune.model)
    mount = entry.mount(tune.model, {"train_norms": False})
    mount.attach(tune.model)
    begun = logits(tune.model)
    assert 0 < (begun - bare).abs().max() < 0.05 * bare.abs().max()
    names = [n for n, p in tune.model.named_parameters() if p.requires_grad]
    assert {n.split(".")[-3] for n in names} == {"bottleneck_down", "bottleneck_up"}


def test_bottleneck_learns(tune):
    run = tune("pirate", method="bottleneck", learning_rate=3e-3, max_steps=30, batch_size=8)
    assert run.metrics["held_out_loss"] < 0.7 * run.metrics["held_out_loss_before"]
