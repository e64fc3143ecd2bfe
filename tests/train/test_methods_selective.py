"""Methods that tune the model's own parameters: which, how sparse, and what is kept."""

from __future__ import annotations

import pytest
import torch
from conftest import biased, logits
from safetensors.torch import load_file

import nbpeft
import nbpeft.session
from nbpeft.errors import RequestError
from nbpeft.methods import methods
from nbpeft.mounts.diffs import Diff, fix_masks


def tuned_names(tune, method, **settings):
    return {t.name for t in methods.get(method).mount(tune.model, settings).tuned}


def test_bitfit_tunes_every_bias_and_nothing_else(tune):
    tune.model = biased(tune.model)
    names = {n for n, _ in tune.model.named_parameters() if n.endswith(".bias")}
    assert names
    assert tuned_names(tune, "bitfit") == names


def test_bitfit_without_biases_names_ln(tune):
    with pytest.raises(RequestError, match=r"has no biases.*--method ln"):
        nbpeft.attach("mine", model=tune.model, method="bitfit")


def test_last_layers_are_a_quarter_or_as_many_as_asked_for(tune):
    def layers(names):
        return {n.split(".")[2] for n in names if n.startswith("model.layers.")}

    names = tuned_names(tune, "last-layers")
    assert layers(names) == {"4", "5"}  # of six
    assert names - {n for n in names if n.startswith("model.layers.")} == {"model.norm.weight"}
    assert layers(tuned_names(tune, "last-layers", layers=1)) == {"5"}
    for wrong in (0, 7):
        with pytest.raises(RequestError, match=f"layers can't be {wrong}: the model has 6"):
            nbpeft.attach("mine", model=tune.model, method="last-layers", layers=wrong)


@pytest.mark.parametrize("variant", ["l0", "top-k"])
def test_a_difference_ends_sparse(tune, variant):
    words = {"method": "diff", "variant": variant, "keep": 0.01, "learning_rate": 1e-2}
    run = tune("sparse", max_steps=4, **words)
    layers = sum(p.numel() for n, p in tune.model.named_parameters() if ".layers." in n)
    file = load_file(run.record.path / "sparse_difference.safetensors")
    values = torch.cat([v for n, v in file.items() if n.endswith(" values")])
    assert 0 < len(values) <= round(0.01 * layers)
    assert len(values) > 0.9 * round(0.01 * layers)
    assert (values != 0).all()
    assert (
        run.record.path.joinpath("sparse_difference.safetensors").stat().st_size < 0.2 * 4 * layers
    )

    answers = logits(nbpeft.attach("sparse", model=tune.model))
    moved = dict(tune.model.named_parameters())
    nbpeft.attach(None, model=tune.model)
    base = dict(tune.model.named_parameters())
    differing = sum(int((moved[n] != base[n]).sum()) for n in base)
    assert differing == len(values)

    nbpeft.session._current = None
    assert torch.equal(logits(nbpeft.attach("sparse", model=tune.model)), answers)


def test_going_on_from_a_sparse_difference_keeps_its_places(tune):
    first = tune("first", method="diff", variant="top-k", keep=0.01, learning_rate=1e-2)
    second = tune("second", method="diff", from_="first", learning_rate=1e-2)
    one, two = (
        load_file(run.record.path / "sparse_difference.safetensors") for run in (first, second)
    )
    for name in (n for n in one if n.endswith(" places")):
        assert set(two[name].tolist()) <= set(one[name].tolist())
    assert any(not torch.equal(one[n], two[n]) for n in one if n.endswith(" values"))


def test_the_l0_penalty_closes_gates(tune):
    """Without a loss of its own, the penalty alone lowers how many are expected to differ."""
    diff = Diff(torch.zeros(50, 4), alpha=1.0)
    before = diff.expected()
    assert 0 < before < 200
    optimizer = torch.optim.SGD([diff.alpha], lr=10.0)
    for _ in range(20):
        optimizer.zero_grad()
        diff.expected().backward()
        optimizer.step()
    assert diff.expected() < 0.2 * before


def test_the_largest_differences_of_all_stay():
    one, two = (Diff(torch.zeros(10), None) for _ in range(2))
    with torch.no_grad():
        one.w.copy_(torch.arange(10.0))
        two.w.copy_(torch.arange(10.0) * -0.1)
    fix_masks([one, two], keep=0.25)
    assert one().tolist() == [0] * 5 + [5, 6, 7, 8, 9]
    assert two().tolist() == [0] * 10


def test_gates_are_drawn_while_training_only():
    diff = Diff(torch.zeros(400), alpha=0.0)
    with torch.no_grad():
        diff.w.fill_(1)
    drawn = diff.train()()
    assert len(drawn.unique()) > 10
    assert not torch.equal(drawn, diff())
    assert torch.equal(diff.eval()(), diff())
    assert diff()[0] == 0  # sigmoid(0), stretched to -1.5 … 1.5


@pytest.mark.parametrize("words", [{"keep": 0.0}, {"keep": 2}, {"fix_after": 0}])
def test_shares_are_checked(tune, words):
    with pytest.raises(RequestError, match="must be a share above 0"):
        nbpeft.attach("mine", model=tune.model, method="diff", **words)
