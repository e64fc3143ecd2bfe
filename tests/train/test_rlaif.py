"""AI feedback: pairs that a judge has ranked, kept as data, and what is learned from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import logits

import nbpeft
from nbpeft.chains import making
from nbpeft.data import default_rendering
from nbpeft.errors import AdapterError, NbPeftError, RunError
from nbpeft.feedback.judge import ModelJudge
from nbpeft.generating import new_tokens

ANIMALS = ("crow", "deer", "mole", "duck", "heron", "horse", "turtle", "bear", "swan", "bee")
PROMPTS = [f"Tell me a {kind}story about a {a}." for a in ANIMALS for kind in ("", "short ")]
STORIES = [{"prompt": prompt} for prompt in PROMPTS]
SMALL = {"data": STORIES, "objective": "rlaif", "max_completion_length": 6, "eval": 0}
AGAIN = {"data": STORIES, "resume": True, "max_steps": None, "eval": None, "batch_size": None}
"""A chain to be finished: its request says the rest, but for what was given as an object."""
PAIRS = Path("adapters/ai/feedback/pairs.jsonl")


def long_ago(prompts, completions):
    """As a judge: stories that begin so are the better ones."""
    return [float(text.startswith("Long ago")) for text in completions]


def share(model, tokenizer):
    """Of stories that begin so, sampled under a fixed seed."""
    rendering = default_rendering(tokenizer)
    asked = [rendering.prompt_ids(tokenizer, p) for p in PROMPTS for _ in range(6)]
    how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    torch.manual_seed(0)
    with torch.no_grad():
        found = new_tokens(model, tokenizer, asked, max_new_tokens=6, **how)
    return sum(long_ago(None, tokenizer.batch_decode(found))) / len(found)


def kept(path=PAIRS):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_the_judge_prefers_becomes_likelier(tune):
    """Set before it was run: from under 0.5 to 0.75 at least."""
    before = share(tune.model, tune.tokenizer)
    words = {"max_steps": 24, "batch_size": 8, "learning_rate": 1e-3, "num_generations": 6}
    tune("ai", **SMALL | words, judge=long_ago)
    for row in kept():
        better, worse = long_ago(None, [row["chosen"], row["rejected"]])
        assert (better, worse, row["preference"]) == (1, 0, 1.0)
        assert row["prompt"] in PROMPTS
    with nbpeft.session.current().answering_as(tune.model, "ai") as model:
        after = share(model, tune.tokenizer)
    assert before < 0.5
    assert after > 0.75


def test_the_pairs_are_a_variable_and_go_into_dpo(tune, monkeypatch):
    variables = {}
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: variables)
    tune("ai", **SMALL, judge=long_ago, max_steps=1)
    assert variables["ai_pairs"] == kept()
    run = tune("again", data="ai_pairs", objective="dpo", max_steps=1, eval=0)
    assert run.plan.train_rows == len(kept())


def test_a_model_ranks_in_both_orders(tune, monkeypatch):
    asked = []
    original = ModelJudge._two
    monkeypatch.setattr(
        ModelJudge, "_two", lambda self, a, b: asked.append((a, b)) or original(self, a, b)
    )
    tune("ai", **SMALL | {"data": STORIES[:8]}, rubric="Short is good.", max_steps=1)
    assert asked
    assert sorted((b.text, a.text) for a, b in asked) == sorted((a.text, b.text) for a, b in asked)
    assert all(0.5 < row["preference"] <= 1 for row in kept())


def test_stopped_while_pairs_are_made_it_goes_on_to_the_same_ones(tune, monkeypatch):
    """The rows that were made aren't made again."""
    words = SMALL | {"max_steps": 1}
    tune("whole", **words, judge=long_ago)
    calls = []
    original = making.made

    def stopping(*args):
        *before, make, seed, events, stop = args

        def counted(rows):
            calls.append(len(rows))
            if len(calls) == 2:
                stop.ask()
            return make(rows)

        return original(*before, counted, seed, events, stop)

    monkeypatch.setattr("nbpeft.chains.feedback.made", stopping)
    with pytest.raises(nbpeft.Stopped, match=r"16 of 20 prompts are kept"):
        tune("ai", **words, judge=long_ago)
    assert not nbpeft.session.current().shelf.records()[1:]
    tune(
        "ai", data=STORIES, resume=True, judge=long_ago, max_steps=None, eval=None, batch_size=None
    )
    assert calls == [8, 8, 4]
    assert kept() == kept(Path("adapters/whole/feedback/pairs.jsonl"))
    whole = logits(nbpeft.attach("whole", model=tune.model))
    assert torch.equal(logits(nbpeft.attach("ai", model=tune.model)), whole)


def test_stopped_in_its_last_run_it_goes_on_with_that(tune, stopped_at, monkeypatch):
    words = SMALL | {"max_steps": 4}
    tune("whole", **words, judge=long_ago)
    with stopped_at(2):
        tune("ai", **words, judge=long_ago)
    monkeypatch.setattr("nbpeft.chains.pairs.Pairing.__call__", None)  # nothing is made anew
    tune(
        "ai", data=STORIES, resume=True, judge=long_ago, max_steps=None, eval=None, batch_size=None
    )
    whole = logits(nbpeft.attach("whole", model=tune.model))
    assert torch.equal(logits(nbpeft.attach("ai", model=tune.model)), whole)


def test_answers_that_never_differ_end_it_with_a_line(tune):
    before = logits(tune.model)
    with pytest.raises(RunError, match="No prompt gave a pair"):
        tune("ai", **SMALL | {"data": [{"prompt": "Hello!"}] * 4}, judge=long_ago)
    assert torch.equal(logits(tune.model), before)


def test_a_dry_run_makes_nothing(tune):
    run = tune("ai", **SMALL, judge=long_ago, dry_run=True)
    assert run.plan.train_rows == len(STORIES)
    assert not Path("adapters/ai").exists()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ({}, NbPeftError),  # no rubric for a model
        ({"judge": lambda prompts: prompts}, NbPeftError),
        ({"judge": long_ago, "resume": True}, AdapterError),
        ({"judge": long_ago, "max_completion_length": 5000}, NbPeftError),
    ],
)
def test_what_can_t_be_is_refused_before_anything_is_made(tune, words, kind):
    with pytest.raises(kind) as caught:
        tune("ai", **SMALL | words)
    assert "\n" not in str(caught.value)
    assert not Path("adapters/ai").exists()
