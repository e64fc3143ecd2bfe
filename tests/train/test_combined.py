"""%peft_attach a+b: LoRA adapters combined, of the same numbers as adding up their changes."""

from __future__ import annotations

import pytest
import torch
from conftest import logits

import nbpeft
import nbpeft.session
from nbpeft.errors import AdapterError, RequestError
from nbpeft.methods import methods
from nbpeft.session import current


def grown(model, name, **words):
    """An adapter by hand, its weights moved well away from none."""
    torch.manual_seed(sum(map(ord, name)))
    nbpeft.attach(name, model=model, method="lora", **words)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.05 * torch.randn_like(parameter))
    changes = {
        path: module.get_delta_weight("default").detach().clone()
        for path, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    nbpeft.attach(None, model=model)
    return changes


@pytest.fixture
def pair(tiny_pair):
    """A model with adapters a and b of different ranks, scalings and targets; and their changes."""
    model, _ = tiny_pair
    a = grown(model, "a", rank=4, target_modules=["q_proj", "v_proj"], use_rslora=True)
    b = grown(model, "b", rank=6, alpha=5, target_modules=["q_proj", "up_proj"])
    return model, a, b


def by_hand(model, *changes):
    """Logits of the base with (weight, changes) added into its weights; put back after."""
    kept = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        for weight, change in changes:
            for path, delta in change.items():
                model.get_submodule(path).weight += weight * delta
        result = logits(model)
        for name, parameter in model.named_parameters():
            parameter.copy_(kept[name])
    return result


def test_a_sum_is_the_sum_of_the_changes(pair):
    model, a, b = pair
    base = logits(model)
    wanted, weighted = by_hand(model, (1, a), (1, b)), by_hand(model, (0.3, a), (-0.5, b))
    nbpeft.attach("a+b", model=model)
    assert current().attached() == ["a@1+b@1"]
    assert torch.allclose(logits(model), wanted, atol=1e-4)
    nbpeft.attach("a+b", model=model, weights=[0.3, -0.5])
    assert torch.allclose(logits(model), weighted, atol=1e-4)
    assert not torch.allclose(wanted, weighted, atol=1e-2)
    nbpeft.attach(None, model=model)
    assert torch.equal(logits(model), base)


def test_svd_of_the_whole_rank_is_exact_too(pair):
    model, a, b = pair
    wanted = by_hand(model, (0.5, a), (0.5, b))
    nbpeft.attach("a+b", model=model, combination="svd", svd_rank=10, weights="0.5,0.5")
    assert torch.allclose(logits(model), wanted, atol=1e-3)


def test_it_can_be_kept_under_a_name_saved_and_loaded(pair, monkeypatch):
    model, _, _ = pair
    nbpeft.attach("a+b", model=model)
    assert "attached: a@1+b@1" in repr(nbpeft.adapters())
    nbpeft.attach("a+b", model=model, as_="both", weights=[0.5, 0.5])
    trained = logits(model)
    assert nbpeft.adapters()["both"].objective == "combined"
    nbpeft.save("both", model=model)
    nbpeft.attach(None, model=model)
    monkeypatch.setattr(nbpeft.session, "_current", None)
    assert torch.equal(logits(nbpeft.attach("both", model=model)), trained)


def test_a_run_goes_on_from_one_once_it_is_saved(pair, tiny_pair):
    model, tokenizer = tiny_pair
    nbpeft.attach("a+b", model=model, as_="both")
    words = {"model": model, "tokenizer": tokenizer, "max_steps": 1, "eval": 0, "from_": "both"}
    with pytest.raises(AdapterError, match=r"shelve it first, with nbpeft.save\('both'\)"):
        nbpeft.finetune("more", "tiny:pirate", **words)
    nbpeft.save("both", model=model)
    assert nbpeft.finetune("more", "tiny:pirate", **words).record.parent == "both@1"


def test_without_a_name_it_is_not_listed_and_not_saved(pair):
    model, _, _ = pair
    nbpeft.attach("a+b", model=model)
    assert list(nbpeft.adapters()) == ["a", "b"]
    with pytest.raises(AdapterError, match="--as NAME"):
        nbpeft.save("a+b", model=model)


def test_it_stands_beside_its_parts_in_a_comparison(pair, tiny_pair):
    model, tokenizer = tiny_pair
    shown = nbpeft.compare(["base", "a", "a+b"], ["Who are you?"], model=model,
                           tokenizer=tokenizer, max_new_tokens=3)  # fmt: skip
    assert shown.columns == ("base", "a", "a+b")
    with current().answering_as(model, "a+b") as answering:
        ids = tokenizer("x", return_tensors="pt").input_ids
        both = answering(ids).logits
    assert not torch.equal(both, model(ids).logits)


def test_a_run_between_leaves_it_attached(pair, tiny_pair):
    model, tokenizer = tiny_pair
    nbpeft.attach("a+b", model=model)
    before = logits(model)
    nbpeft.finetune("other", "tiny:pirate", model=model, tokenizer=tokenizer, max_steps=1, eval=2)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"method": "full"}, "was made with full"),
        ({"method": "prompt"}, "was made with prompt"),
        ({"method": "lora", "use_dora": True}, "DoRA"),
        ({"method": "lora", "init_lora_weights": "pissa"}, "pissa"),
        ({"method": "lora", "modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_what_can_not_be_combined_says_why(pair, made, says):
    model, _, _ = pair
    nbpeft.attach("c", model=model, **made)
    nbpeft.attach(None, model=model)
    before = logits(model)
    with pytest.raises(RequestError, match=says):
        nbpeft.attach("a+c", model=model)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(
    ("name", "words", "error", "says"),
    [
        ("a+b", {"combination": "linear"}, RequestError, "ranks 4, 6; type --combination cat"),
        ("a+b", {"combination": "catt"}, RequestError, "Did you mean cat"),
        ("a+b", {"combination": "ties_svd"}, RequestError, "--density 0.5"),
        ("a+b", {"density": 0.5}, RequestError, "no meaning for cat"),
        ("a+b", {"weights": [1]}, RequestError, "2 adapters want 2 weights"),
        ("a+bb", {}, AdapterError, "There is no adapter 'bb'"),
        ("a+a", {}, AdapterError, "twice"),
        ("a+", {}, AdapterError, "lacks a name"),
        ("a", {"rank": 2}, RequestError, "--method dylora"),
        ("a:2", {}, RequestError, "--method dylora"),
        ("a:x", {}, AdapterError, "names no rank"),
        ("a", {"weights": [1, 1]}, RequestError, "a\\+b --weights"),
        ("a", {"as_": "z"}, RequestError, "--as names what is loaded"),
        ("a+b", {"as_": "a+b"}, AdapterError, "can't be called"),
    ],
)
def test_mistakes(pair, name, words, error, says):
    model, _, _ = pair
    with pytest.raises(error, match=says):
        nbpeft.attach(name, model=model, **words)
    assert current().attached() == []


@pytest.mark.parametrize(
    "how", ["linear", "ties", "dare_linear", "magnitude_prune", "dare_ties_svd"]
)
def test_the_other_ways_are_pefts(tiny_pair, how):
    """Each makes an adapter that answers, and the random state is where it was."""
    model, _ = tiny_pair
    grown(model, "a", rank=4)
    grown(model, "b", rank=4)
    before, base = torch.get_rng_state(), logits(model)
    nbpeft.attach("a+b", model=model, combination=how,
                  density=None if how == "linear" else 0.5)  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(logits(model), base)
    nbpeft.attach(None, model=model)
    assert torch.equal(logits(model), base)


def test_a_method_that_can_be_cut_is_cut(pair, monkeypatch):
    """The hook alone: what `dylora` fills in."""
    model, a, _ = pair
    asked = []

    def cut(self, root, folder, rank):
        asked.append((sorted(p.name for p in folder.glob("adapter_*")), rank))
        return self.load(root, folder)

    monkeypatch.setattr(type(methods.get("lora")), "cut", cut, raising=False)
    wanted = by_hand(model, (1, a))
    nbpeft.attach("a", model=model, rank=2)
    assert current().attached() == ["a@1:2"]
    assert asked == [(["adapter_config.json", "adapter_model.safetensors"], 2)]
    assert torch.allclose(logits(model), wanted, atol=1e-4)
