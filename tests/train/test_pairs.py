"""Every legal pair of a method and an objective, two steps: only what should move moved."""

from __future__ import annotations

import pytest
import torch
from conftest import biased, logits

import nbpeft
from nbpeft.errors import RequestError
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.registry import check_pair


def legal():
    for method in methods:
        for objective in objectives:
            try:
                check_pair(method, objective)
            except RequestError:
                continue
            yield method.name, objective.name


DATA = {"dpo": "polite", "orpo": "polite", "cpo": "polite", "kto": "ratings"}
"""Embedded rows that an objective learns from; else chats."""


@pytest.mark.parametrize(("method", "objective"), list(legal()))
def test_two_steps(tune, method, objective):
    if method == "bitfit":  # Llama has none
        tune.model = biased(tune.model)
    base = {name: p.detach().clone() for name, p in tune.model.named_parameters()}
    before = logits(tune.model)
    words = {"data": nbpeft.load_data(DATA[objective])} if objective in DATA else {}
    tune("one", method=method, objective=objective, max_steps=2, learning_rate=1e-2, **words)
    assert all(torch.equal(p, base[name]) for name, p in tune.model.named_parameters())
    assert torch.equal(logits(tune.model), before)
    model = nbpeft.attach("one", model=tune.model)
    assert not torch.equal(logits(model), before)
