"""AdaLoRA: ranks shrink to the budget, the penalty counts once, a stopped run can go on."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from conftest import logits
from peft import PeftModel
from safetensors.torch import load_file

import nbpeft
from nbpeft.methods import methods

TOKENS = torch.arange(4, 28).reshape(2, 12)
ADALORA = methods.get("adalora")


def mounted(model, steps=12, **settings):
    """AdaLoRA on a model, in place."""
    words = {"target_modules": ["q_proj", "v_proj"], "target_r": 2, "init_r": 4}
    mount = ADALORA.mount(model, ADALORA.scheduled(words | settings, steps))
    mount.attach(model)
    return mount


def steps(mount, model, optimizer, first, last):
    """Optimizer steps as a place takes them."""
    with mount.as_peft(model) as wrapped:
        for step in range(first, last + 1):
            wrapped.train()
            torch.manual_seed(step)
            ids = torch.randint(4, 200, (2, 12))
            loss = wrapped(input_ids=ids, labels=ids).loss + ADALORA.penalty(wrapped)
            loss.backward()
            optimizer.step()
            ADALORA.after_step(wrapped, step)
            optimizer.zero_grad()


def ranks(model):
    """How many ranks of each layer count."""
    return {n: int((p != 0).sum()) for n, p in model.named_parameters() if ".lora_E." in n}


def test_ranks_shrink_to_the_budget_and_go_where_they_matter(tune):
    record = tune("a", method="adalora", max_steps=12, learning_rate=1e-2, rank=2, eval=0).record
    nbpeft.attach("a", model=tune.model)
    left = ranks(tune.model)
    assert len(left) == 42
    assert sum(left.values()) == 2 * 42, "target_r a layer, on average"
    assert len(set(left.values())) > 1, "and not the same for all"
    tuned = logits(tune.model)
    nbpeft.attach(None, model=tune.model)

    # What is saved has lost the rest: smaller tensors, and the pattern of what they were.
    saved = load_file(record.path / "adapter_model.safetensors")
    kept = sum(len(t) for key, t in saved.items() if key.endswith("lora_E"))
    assert kept == 2 * 42
    pattern = json.loads((record.path / "adapter_config.json").read_text())["rank_pattern"]
    assert sum(map(sum, pattern.values())) == 2 * 42
    assert {len(row) for row in pattern.values()} == {3}

    plain = PeftModel.from_pretrained(copy.deepcopy(tune.model), str(record.path))
    assert torch.equal(logits(plain), tuned)


def test_the_budget_goes_down_step_by_step(tune):
    mount = mounted(tune.model, steps=16)
    optimizer = torch.optim.AdamW(mount.trainable, lr=1e-2)
    begun, seen = 4 * 12, []
    for step in range(1, 17):
        steps(mount, tune.model, optimizer, step, step)
        seen.append(sum(ranks(tune.model).values()))
    # tinit is 2 and tfinal 8: the cubic way from 48 to 24 between, then level.
    assert seen[:2] == [begun, begun]
    assert seen[2:8] == sorted(seen[2:8], reverse=True)
    assert seen[2] < begun
    assert seen[7:] == [24] * 9


def test_an_adapter_that_is_gone_on_from_keeps_its_ranks(tune):
    tune("a", method="adalora", max_steps=8, learning_rate=1e-2, rank=2, eval=0)
    tune("b", method="adalora", max_steps=4, learning_rate=1e-2, from_="a", eval=0)
    nbpeft.attach("b", model=tune.model)
    assert sum(ranks(tune.model).values()) == 2 * 42
    tuned = logits(tune.model)
    nbpeft.attach(None, model=tune.model)
    again = ADALORA.load(tune.model, nbpeft.adapters()["b"].path)
    again.attach(tune.model)
    assert torch.equal(logits(tune.model), tuned)


def test_the_penalty_counts_once_whatever_the_loss_goes_through(tune):
    mount = mounted(tune.model)
    with mount.as_peft(tune.model) as wrapped:
        direct = tune.model(input_ids=TOKENS, labels=TOKENS).loss
        through = wrapped(input_ids=TOKENS, labels=TOKENS).loss
        assert torch.equal(direct, through), "PEFT's forward adds none"
        penalty = ADALORA.penalty(wrapped)
    expected = []
    for name, factor in tune.model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            gram = factor @ factor.T if ".lora_A." in name else factor.T @ factor
            expected.append((gram - torch.eye(len(gram))).norm())
    assert torch.allclose(penalty, 0.5 * torch.stack(expected).mean())
    mount.detach(tune.model)


def test_the_trained_loss_has_the_penalty(tune):
    words = {"method": "adalora", "max_steps": 2, "eval": 0, "rank": 2}
    without = tune("a", **words, orth_reg_weight=0.0).record.losses[0][1]
    with_it = tune("b", **words, orth_reg_weight=0.5).record.losses[0][1]
    mount = ADALORA.mount(tune.model, {"target_modules": "all-linear", "target_r": 2})
    with mount.as_peft(tune.model) as wrapped:
        mount.attach(tune.model)
        # at random, as the run began: factors of another seed are as far from orthogonal
        assert with_it - without == pytest.approx(float(ADALORA.penalty(wrapped)), rel=0.02)
        mount.detach(tune.model)


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_run_goes_on_from_its_state_as_if_never_stopped(tune, stop):
    def run(model, mount, first, last, moments=None):
        optimizer = torch.optim.AdamW(mount.trainable, lr=1e-2)
        if moments:
            optimizer.load_state_dict(moments)
        steps(mount, model, optimizer, first, last)
        return optimizer.state_dict()

    torch.manual_seed(0)
    mount = mounted(tune.model)
    begun = [p.detach().clone() for p in mount.trainable]
    run(tune.model, mount, 1, 12)
    whole = [p.detach().clone() for p in mount.trainable]
    pattern = mount.shell.peft_config["default"].rank_pattern
    mount.detach(tune.model)

    first = mounted(tune.model)
    set_(first, begun)
    moments = copy.deepcopy(run(tune.model, first, 1, stop))
    with first.as_peft(tune.model) as wrapped:
        kept = {k: t.clone() for k, t in ADALORA.training_state(wrapped).items()}
    first.detach(tune.model)

    second = mounted(tune.model)
    set_(second, first.trainable)
    with second.as_peft(tune.model) as wrapped:
        ADALORA.load_training_state(wrapped, kept)
    run(tune.model, second, stop + 1, 12, moments)
    assert all(torch.equal(a, b) for a, b in zip(second.trainable, whole, strict=True))
    assert second.shell.peft_config["default"].rank_pattern == pattern


def set_(mount, values):
    with torch.no_grad():
        for parameter, value in zip(mount.trainable, values, strict=True):
            parameter.copy_(value)
