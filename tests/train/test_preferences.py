"""Preferences: what is learned, compared with whom, on one copy of the weights."""

from __future__ import annotations

import gc

import pytest
import torch
from conftest import logits, state_of

import nbpeft
from nbpeft.errors import RequestError
from nbpeft.objectives import _pairs
from nbpeft.objectives._policy import Policy
from nbpeft.places import watch

LEARNING = {"learning_rate": 5e-4, "batch_size": 16, "beta": 0.3}


@pytest.fixture(scope="module")
def polite():
    rows = list(nbpeft.load_data("polite"))
    return rows[:160], rows[160:]


@pytest.fixture(scope="module")
def rated():
    return list(nbpeft.load_data("ratings"))


def log_prob(model, tokenizer, prompt, answer):
    """Of an answer after its prompt, by the model's own forward over the whole chat."""
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*prompt, *answer], tokenize=False)
    before = tokenizer(asked, add_special_tokens=False)["input_ids"]
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert ids[: len(before)] == before
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logs[i - 1, ids[i]]) for i in range(len(before), len(ids)))


def accuracy(tune, name, rows):
    """How often the chosen answer gained more on the base than the rejected one."""
    gained = []
    base = [
        [log_prob(tune.model, tune.tokenizer, r["prompt"], r[k]) for k in ("chosen", "rejected")]
        for r in rows
    ]
    model = nbpeft.attach(name, model=tune.model)
    for row, (chosen, rejected) in zip(rows, base, strict=True):
        now = [
            log_prob(model, tune.tokenizer, row["prompt"], row[k]) for k in ("chosen", "rejected")
        ]
        gained.append(now[0] - chosen > now[1] - rejected)
    nbpeft.attach(None, model=tune.model)
    return sum(gained) / len(gained)


def test_dpo_learns(tune, polite):
    train, held_out = polite
    run = tune("p", objective="dpo", data=train, eval=held_out, max_steps=30, **LEARNING)
    assert run.metrics["held_out_accuracy_before"] == pytest.approx(0.5, abs=0.1)
    assert run.metrics["held_out_accuracy"] >= 0.9
    assert accuracy(tune, "p", held_out) >= 0.9


def test_kto_learns(tune, rated, polite):
    run = tune("k", objective="kto", data=rated, eval=40, max_steps=30, **LEARNING)
    assert run.metrics["held_out_accuracy_before"] == pytest.approx(0.5, abs=0.1)
    assert run.metrics["held_out_accuracy"] >= 0.9
    assert accuracy(tune, "k", polite[1]) >= 0.9


@pytest.mark.parametrize("objective", ["orpo", "cpo"])
def test_those_without_a_reference_learn(tune, polite, objective):
    train, held_out = polite
    words = {"data": train, "eval": held_out, "max_steps": 30, "learning_rate": 2e-3}
    tune("p", objective=objective, batch_size=16, **words)
    assert accuracy(tune, "p", held_out) >= 0.9


@pytest.fixture
def asked(monkeypatch):
    """Every batch of pairs that was trained on, and what the reference said of it."""
    found = []
    original = _pairs._PairTrainer.compute_loss

    def spy(trainer, model, inputs, *args, **words):
        found.append((inputs, trainer.referred(inputs)))
        return original(trainer, model, inputs, *args, **words)

    monkeypatch.setattr(_pairs._PairTrainer, "compute_loss", spy)
    return found


def sums(model, inputs):
    """Of the padded batch, by the model's own forward."""
    with torch.no_grad():
        output = model(inputs["input_ids"], attention_mask=inputs["attention_mask"])
    own = output.logits[:, -inputs["input_ids"].shape[1] :]  # a soft prompt's come first
    logs = own.log_softmax(-1).flatten(0, 1)[inputs["scored"]]
    scores = logs.gather(-1, inputs["labels"][:, None])[:, 0]
    return torch.stack([part.sum() for part in scores.split(inputs["counts"].tolist())])


def test_a_fresh_adapter_is_compared_with_the_base(tune, polite, asked):
    # A soft prompt changes the answers from its first step on: its start is not the base.
    tune("p", objective="dpo", method="prompt", data=polite[0], eval=0, max_steps=2)
    for inputs, reference in asked:
        torch.testing.assert_close(reference, sums(tune.model, inputs), atol=1e-3, rtol=0)


def test_from_an_adapter_it_is_compared_with_that(tune, polite, asked):
    words = {"method": "prompt", "data": polite[0], "eval": 0, "max_steps": 2}
    tune("first", learning_rate=0.3, objective="sft", data=nbpeft.load_data("pirate"),
         **{k: v for k, v in words.items() if k != "data"})  # fmt: skip
    tune("second", objective="dpo", learning_rate=0.3, from_="first", **words)
    model = nbpeft.attach("first", model=tune.model)
    for inputs, reference in asked:
        torch.testing.assert_close(reference, sums(model, inputs), atol=1e-3, rtol=0)
    assert nbpeft.adapters()["second"].parent == "first@1"
    assert "first@1" in repr(nbpeft.adapters())


def test_the_reference_is_asked_once_a_row(tune, polite, monkeypatch):
    calls = []
    original = Policy._reference_scorer
    monkeypatch.setattr(
        Policy, "_reference_scorer", lambda *args: calls.append(1) or original(*args)
    )
    tune("p", objective="dpo", data=polite[0][:16], eval=0, max_steps=12, batch_size=4)
    assert len(calls) == 4  # of three epochs


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_the_weights_are_there_once(tune, polite, rated, objective, monkeypatch):
    base = {p.untyped_storage().data_ptr(): p.detach() for p in tune.model.parameters()}
    gc.collect()  # other tests' models
    before = copies_of(base)
    seen = []
    original = watch.Watch.on_pre_optimizer_step

    def look(self, *args, **words):
        seen.append(copies_of(base))
        return original(self, *args, **words)

    monkeypatch.setattr(watch.Watch, "on_pre_optimizer_step", look)
    data = polite[0] if objective == "dpo" else rated
    tune("p", objective=objective, data=data, max_steps=2)
    assert before >= sum(p.untyped_storage().nbytes() for p in base.values())
    assert seen == [before, before]


def copies_of(base):
    """Bytes of all living storages that hold what a base parameter holds."""
    size, done = 0, set()
    for thing in gc.get_objects():
        if not isinstance(thing, torch.Tensor) or thing.device.type != "cpu":
            continue
        storage = thing.untyped_storage()
        if storage.data_ptr() in done:
            continue
        done.add(storage.data_ptr())
        held = base.get(storage.data_ptr())
        alike = held is not None or any(
            thing.dtype == p.dtype and thing.shape == p.shape and torch.equal(thing.detach(), p)
            for p in base.values()
            if p.numel() > 1000
        )
        size += storage.nbytes() if alike else 0
    return size


@pytest.mark.parametrize("method", ["lora", "full"])
def test_stopped_and_resumed_it_comes_to_the_same(tune, polite, method, stopped_at):
    words = {"objective": "dpo", "method": method, "data": polite[0], "max_steps": 4}
    tune("whole", **words)
    with stopped_at(2, match="step 2 of 4"):
        tune("parts", **words)
    tune("parts", resume=True, **words)
    with torch.no_grad():
        ends = [logits(nbpeft.attach(name, model=tune.model)) for name in ("whole", "parts")]
    assert torch.equal(*ends)


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_the_model_is_left_as_it_was(tune, polite, rated, objective):
    before = state_of(tune.model, tune.tokenizer)
    tune("p", objective=objective, data=polite[0] if objective == "dpo" else rated, max_steps=1)
    assert state_of(tune.model, tune.tokenizer) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"loss": "sigmoids"}, "There is no loss 'sigmoids'. Did you mean sigmoid"),
        ({"loss": "exo_pair"}, "exo_pair needs a label_smoothing above 0"),
        ({"label_smoothing": 0.5}, "from 0 to below 0.5"),
        ({"loss_type": ["ipo", "sft"], "loss_weights": [1.0]}, "1 weights for 2 loss types"),
        ({"loss": "ipo", "loss_type": "ipo"}, "the same setting"),
        ({"f_divergence_type": "kl"}, "no f_divergence_type 'kl'"),
        ({"sync_ref_model": True}, "set by nbpeft itself"),
    ],
)
def test_settings_that_can_not_be(tune, polite, words, message):
    with pytest.raises(RequestError, match=message):
        tune("p", objective="dpo", data=polite[0], **words)
    assert not nbpeft.adapters()
