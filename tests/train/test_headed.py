"""An adapter with a head beside it: one folder, and a base that never notices."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest import logits
from peft import PeftModel
from safetensors.torch import load_file

import nbpeft
import nbpeft.session
from nbpeft.errors import RequestError
from nbpeft.mounts import heads

TEXTS = ["I loved the play.", "The room was dull.", "Nobody could call the game rude."]


def trained(tune, name="c", **words):
    given = {"objective": "classify", "learning_rate": 1e-2} | words
    return tune(name, **given).record


def shares(tune, name):
    found = nbpeft.predict(name, TEXTS, model=tune.model, tokenizer=tune.tokenizer)
    return torch.tensor(found.probabilities)


def same_files(one, other, *names):
    for name in names or ("adapter_model.safetensors", heads.WEIGHTS):
        first, second = load_file(one.path / name), load_file(other.path / name)
        assert first.keys() == second.keys()
        yield all(torch.equal(first[key], second[key]) for key in first)


def test_peft_loads_the_adapter_and_the_head_lies_beside(tune):
    before = logits(tune.model)
    record = trained(tune)
    assert torch.equal(logits(tune.model), before)
    kept = json.loads((record.path / heads.CONFIG).read_text())
    assert (kept["labels"], kept["names"]) == (2, ["negative", "positive"])
    attached = logits(nbpeft.attach("c", model=tune.model))
    assert not torch.equal(attached, before)
    nbpeft.attach(None, model=tune.model)
    assert torch.equal(logits(tune.model), before)
    assert torch.equal(logits(PeftModel.from_pretrained(tune.model, str(record.path))), attached)


@pytest.mark.parametrize("method", ["lora", "prompt", "bitfit", "full", "ptuning"])
def test_scores_are_the_same_after_a_kernel_restart(tune, method, monkeypatch):
    trained(tune, method=method)
    now = shares(tune, "c")
    assert (now[0] - now[1]).abs().max() > 1e-3
    monkeypatch.setattr(nbpeft.session, "_current", None)
    assert torch.allclose(shares(tune, "c"), now, atol=1e-6)


def test_what_is_counted_is_what_is_trained(tune):
    plain = tune("plain").record.trainable_parameters
    head = 2 * (tune.model.config.hidden_size + 1)
    assert trained(tune).trainable_parameters == plain + head


def test_a_reward_model_goes_on_from_tuned_answers(tune):
    """`--from` an adapter without a head: its weights, and a head of its own."""
    parent = tune("spoken", learning_rate=1e-2).record
    child = tune("r", objective="reward", from_="spoken", learning_rate=1e-12, max_steps=1).record
    assert child.parent == parent.label
    adapter = "adapter_model.safetensors"
    first, second = load_file(parent.path / adapter), load_file(child.path / adapter)
    assert all(torch.allclose(first[key], second[key], atol=1e-8) for key in first)
    assert json.loads((child.path / heads.CONFIG).read_text())["labels"] == 1


def test_a_classifier_goes_on_from_its_own_head(tune):
    parent = trained(tune)
    child = trained(tune, "d", from_="c", learning_rate=1e-12, max_steps=1)
    first, second = (load_file(r.path / heads.WEIGHTS) for r in (parent, child))
    assert all(torch.allclose(first[key], second[key], atol=1e-8) for key in first)
    other = [{"text": t, "label": n} for n, t in enumerate(TEXTS)] * 4
    anew = trained(tune, "e", from_="c", data=other, eval=0, max_steps=1)
    assert json.loads((anew.path / heads.CONFIG).read_text())["names"] == ["0", "1", "2"]


def test_a_head_of_other_labels_is_no_beginning(tune):
    trained(tune, method="head-dense")
    other = [{"text": t, "label": n} for n, t in enumerate(TEXTS)] * 4
    with pytest.raises(RequestError, match=r"c@1 tells apart negative, positive, and these rows"):
        trained(tune, "d", method="head-dense", from_="c", data=other, eval=0)
    with pytest.raises(RequestError, match=r"labels can't be 5: the rows come to negative"):
        trained(tune, "d", method="head-dense", labels=5)


@pytest.mark.parametrize("method", ["lora", "head-dense"])
def test_a_stopped_run_is_finished_to_the_bit(tune, stopped_at, method):
    whole = trained(tune, "whole", method=method, max_steps=4, objective="classify")
    with stopped_at(2):
        trained(tune, "halves", method=method, max_steps=4)
    halves = trained(tune, "halves", method=method, max_steps=4, resume=True)
    assert halves.metrics["steps"] == 4
    names = [heads.WEIGHTS] + (["adapter_model.safetensors"] if method == "lora" else [])
    assert all(same_files(whole, halves, *names))


def test_an_adapter_that_could_not_be_written_keeps_its_head(tune, monkeypatch):
    from nbpeft.session.shelf import Shelf

    with monkeypatch.context() as patched:

        def full(*_, **__):
            raise OSError("disk full")

        patched.setattr(Shelf, "put", full)
        with pytest.raises(nbpeft.NbPeftError, match="disk full"):
            trained(tune)
    now = shares(tune, "c")
    nbpeft.save("c", model=tune.model)
    monkeypatch.setattr(nbpeft.session, "_current", None)
    assert torch.allclose(shares(tune, "c"), now, atol=1e-6)


def test_a_folder_from_elsewhere_brings_its_head(tune, tmp_path, monkeypatch):
    record = trained(tune)
    now = shares(tune, "c")
    shutil.copytree(record.path, tmp_path / "given")
    shutil.rmtree(record.path.parent)
    monkeypatch.setattr(nbpeft.session, "_current", None)
    nbpeft.attach(str(tmp_path / "given"), model=tune.model, as_="got")
    nbpeft.attach(None, model=tune.model)
    assert torch.allclose(shares(tune, "got"), now, atol=1e-6)
    nbpeft.save("got", model=tune.model)
    monkeypatch.setattr(nbpeft.session, "_current", None)
    assert torch.allclose(shares(tune, "got"), now, atol=1e-6)


def test_its_adapter_is_combined_and_merged_like_any_other(tune, tmp_path):
    trained(tune)
    tune("plain", learning_rate=1e-2)
    both = logits(nbpeft.attach("c+plain", model=tune.model))
    alone = logits(nbpeft.attach("c", model=tune.model))
    nbpeft.attach(None, model=tune.model)
    assert not torch.equal(both, alone)
    nbpeft.merge("c", tmp_path / "whole", model=tune.model, tokenizer=tune.tokenizer)
    merged = type(tune.model).from_pretrained(tmp_path / "whole")
    assert torch.allclose(logits(merged), alone, atol=1e-3)


@pytest.mark.parametrize(
    ("objective", "method"), [("classify", "lora"), ("reward", "prompt"), ("reward", "head")]
)
def test_whether_it_fits_is_known(tiny_pair, objective, method):
    model, tokenizer = tiny_pair
    data = "tiny:sentiment" if objective == "classify" else "tiny:polite"
    found = nbpeft.fit(
        data=data, model=model, tokenizer=tokenizer, objective=objective, method=method
    )
    assert found.fits
    assert found.needed > 0
