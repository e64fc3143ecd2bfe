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


def by_letters(completions):
    """Never the same for two answers, or hardly ever."""
    return [float(text.count("e") - text.count("o")) for text in completions]


STORIES = [{"prompt": f"Tell me a story about a {a}."} for a in ("crow", "deer", "mole", "swan")]
"""The tiny model's answers differ here; those to questions are the same each time."""


CELLS = {
    "text": {"data": "stories"},
    "dpo": {"data": "polite"},
    "orpo": {"data": "polite"},
    "cpo": {"data": "polite"},
    "kto": {"data": "ratings"},
    "reward": {"data": "polite"},
    "classify": {"data": "sentiment"},
    "rl": {"data": STORIES, "reward": by_letters, "max_completion_length": 6, "eval": 0},
    "rlaif": {"data": STORIES, "judge": by_letters, "max_completion_length": 6, "eval": 0},
    "constitution": {
        "data": STORIES,
        "judge": by_letters,
        "principles": ["Be short."],
        "max_completion_length": 6,
        "eval": 0,
    },
}
"""What an objective is given; else the embedded chats."""


@pytest.mark.parametrize(("method", "objective"), list(legal()))
def test_two_steps(tune, method, objective):
    if method == "bitfit":  # Llama has none
        tune.model = biased(tune.model)
    base = {name: p.detach().clone() for name, p in tune.model.named_parameters()}
    before = logits(tune.model)
    words = dict(CELLS.get(objective, {}))
    if isinstance(words.get("data"), str):
        words["data"] = nbpeft.load_data(words["data"])
    tune("one", method=method, objective=objective, max_steps=2, learning_rate=1e-2, **words)
    assert all(torch.equal(p, base[name]) for name, p in tune.model.named_parameters())
    assert torch.equal(logits(tune.model), before)
    model = nbpeft.attach("one", model=tune.model)
    assert not torch.equal(logits(model), before)
