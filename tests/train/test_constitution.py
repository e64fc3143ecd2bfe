"""A constitution: answers that are revised by a principle, learned, preferred; stage by stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import logits

import nbpeft
from nbpeft.chains.revisions import critique_of, revision_of
from nbpeft.errors import RequestError
from nbpeft.feedback import Answered

PRINCIPLE = "Be polite."
CRITIQUE = "It is not polite."
QUESTIONS = [{"prompt": row["prompt"][0]["content"]} for row in nbpeft.load_data("questions")]
STORIES = [{"prompt": f"Tell me a story about a {a}."} for a in ("crow", "deer", "mole", "swan")]
SMALL = {
    "data": STORIES, "objective": "constitution", "principles": [PRINCIPLE], "eval": 0,
    "max_completion_length": 6, "max_steps": 2, "batch_size": 2,
}  # fmt: skip
AGAIN = {"data": STORIES, "resume": True, "max_steps": None, "eval": None, "batch_size": None}


def by_letters(completions):
    return [float(text.count("e") - text.count("o")) for text in completions]


def kept(stage):
    path = Path(f"adapters/ai/feedback/{stage}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def helper(tune):
    """An adapter that was taught to criticize and to revise: the tiny model by itself can't."""
    rows = []
    for row in list(nbpeft.load_data("polite"))[:100]:
        question, plain, polite = (row[k][0]["content"] for k in ("prompt", "rejected", "chosen"))
        answer = Answered(question, plain)
        critique = critique_of(answer, PRINCIPLE)
        revision = revision_of(answer, PRINCIPLE, CRITIQUE)
        rows.append({"messages": [*critique, {"role": "assistant", "content": CRITIQUE}]})
        rows.append({"messages": [*revision, {"role": "assistant", "content": polite}]})
    words = {"max_steps": 40, "batch_size": 8, "learning_rate": 3e-3, "eval": 0}
    tune("helper", data=rows, loss_on="last", **words)


def breaking(tune, name):
    """The share of answers to questions it has not seen that break the principle."""
    asked = [row["prompt"] for row in QUESTIONS[100:116]]
    compared = nbpeft.compare([name], asked, model=tune.model, tokenizer=tune.tokenizer)
    return sum(not a.startswith("Thank you") for (a,) in compared.answers) / len(asked)


@pytest.mark.usefixtures("helper")
def test_answers_keep_to_the_principle(tune):
    """Set before it was run: from nearly all that break it to under half."""
    words = {"max_steps": 12, "batch_size": 8, "sft_learning_rate": 3e-3, "learning_rate": 2e-4}
    words |= {"max_completion_length": 32, "judge": "helper", "num_generations": 6}
    before = breaking(tune, "base")
    run = tune("ai", **SMALL | {"data": QUESTIONS[:24]} | words)
    assert before > 0.9
    assert breaking(tune, "ai-sft") < 0.5
    assert breaking(tune, "ai") < 0.5
    assert run.record.parent == "ai-sft@1"
    revised = kept("revisions")
    assert [row["prompt"] for row in revised] == [row["prompt"] for row in QUESTIONS[:24]]
    assert all(step["principle"] == PRINCIPLE for row in revised for step in row["steps"])
    assert sum(row["completion"].startswith("Thank you") for row in revised) > 12
    assert not any(row["answer_before"].startswith("Thank you") for row in revised)


def test_rounds_and_principles(tune):
    """Each round has a critique; the principles are drawn, the same for a prompt each time."""
    words = {"principles": ["Be polite.", "Be short."], "rounds": 2, "judge": by_letters}
    tune("ai", **SMALL | words)
    first = kept("revisions")
    assert [len(row["steps"]) for row in first] == [2] * len(STORIES)
    drawn = {step["principle"] for row in first for step in row["steps"]}
    assert drawn <= {"Be polite.", "Be short."}
    tune("ai", **SMALL | words)  # begun anew
    assert kept("revisions") == first


def test_a_chain_goes_on_with_the_stage_it_was_stopped_in(tune, stopped_at, monkeypatch):
    words = SMALL | {"max_steps": 4, "judge": by_letters}
    tune("whole", **words)
    with stopped_at(2, match="ai-sft@1 was stopped after step 2"):
        tune("ai", **words)
    assert not Path("adapters/ai/1").exists()
    monkeypatch.setattr("nbpeft.chains.revisions.Revising.__call__", None)  # not redone
    tune("ai", **AGAIN, judge=by_letters)
    for name in ("-sft", ""):
        whole = logits(nbpeft.attach(f"whole{name}", model=tune.model))
        assert torch.equal(logits(nbpeft.attach(f"ai{name}", model=tune.model)), whole)
    labels = [record.label for record in nbpeft.session.current().shelf.records()]
    assert "ai@1" in labels


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"principles": None}, "needs principles"),
        ({"rounds": 0}, "rounds must be 1 or more"),
    ],
)
def test_what_can_t_be_is_refused_before_anything_is_made(tune, words, message):
    with pytest.raises(RequestError, match=message):
        tune("ai", **SMALL | words)
    assert not Path("adapters/ai").exists()


def test_another_objective_takes_no_principles(tune):
    with pytest.raises(RequestError, match="dpo takes no principles"):
        tune("ai", objective="dpo", principles=[PRINCIPLE])
