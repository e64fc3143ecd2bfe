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


def later(prompts, completions, **columns):
    """Tells answers apart that are the same, as those of a sure model are."""
    return [float(number) for number in range(len(completions))]


def wordy(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


ANIMALS = ("crow", "deer", "mole", "duck", "heron", "horse", "turtle", "bear")
STORIES = [{"prompt": f"Tell me a story about a {animal}."} for animal in ANIMALS]
CHAIN = {"data": STORIES, "judge": wordy, "max_completion_length": 6, "eval": 0}
CELLS = {
    "text": {"data": "stories"},
    "dpo": {"data": "polite"},
    "orpo": {"data": "polite"},
    "cpo": {"data": "polite"},
    "kto": {"data": "ratings"},
    "reward": {"data": "polite"},
    "classify": {"data": "sentiment"},
    "context-distillation": {
        "data": "questions",
        "context": "Talk like a pirate.",
        "max_completion_length": 6,
    },
    "knowledge-distillation": {"baseline": "off"},
    "rl": {"data": "questions", "reward": later, "max_completion_length": 6},
    "rlaif": CHAIN,
    "constitution": CHAIN | {"principles": ["Be short."]},
}
"""What an objective is given; else the embedded chats."""


@pytest.mark.parametrize(("method", "objective"), list(legal()))
def test_two_steps(tune, method, objective):
    if method == "bitfit":  # Llama has none
        tune.model = biased(tune.model)
    words = dict(CELLS.get(objective, {}))
    if "teacher" in objectives.get(objective).takes:
        words["teacher"] = nbpeft.make_student(tune.model, layers=1)
    base = {name: p.detach().clone() for name, p in tune.model.named_parameters()}
    before = logits(tune.model)
    if not isinstance(words.setdefault("data", "pirate"), list):
        # Two steps read few of them, and all are tokenized.
        words["data"] = nbpeft.load_data(words["data"]).select(range(40))
    tune("one", method=method, objective=objective, max_steps=2, learning_rate=1e-2, **words)
    assert all(torch.equal(p, base[name]) for name, p in tune.model.named_parameters())
    assert torch.equal(logits(tune.model), before)
    model = nbpeft.attach("one", model=tune.model)
    assert not torch.equal(logits(model), before)
