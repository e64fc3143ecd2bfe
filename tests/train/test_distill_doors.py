"""%%distill and its comparison: from a cell to a column, and prompts that the model writes."""

from __future__ import annotations

import json

import datasets
import pandas as pd
import pytest

import nbpeft
from nbpeft.chains import prompts as written
from nbpeft.errors import RequestError, RunError

QUICK = {"max_completion_length": 12, "max_steps": 2, "eval": 4, "batch_size": 4, "fit": "off"}


@pytest.fixture
def distill(tiny_pair):
    questions = nbpeft.load_data("questions").select(range(16))

    def call(name, context="Talk like a pirate.", **words):
        given = {"prompts": questions, "model": call.model, "tokenizer": call.tokenizer}
        return nbpeft.distill(name, context, **QUICK | given | words)

    call.model, call.tokenizer = tiny_pair
    return call


def compare(distill, names):
    return nbpeft.compare(
        names, ["Where is the crow?"], model=distill.model, tokenizer=distill.tokenizer
    )


def test_the_base_with_the_context_stands_beside(distill):
    distill("pirate")
    found = compare(distill, ["base", "base+context", "pirate"])
    assert found.columns == ("base", "base+context", "pirate")
    base, prompted, _ = found.answers[0]
    assert "Arr" in prompted
    assert "Arr" not in base
    tokens = {name: figures.prompt_tokens for name, figures in found.figures.items()}
    assert tokens["base+context"] > tokens["base"] == tokens["pirate"]


def test_several_contexts_are_a_column_each(distill):
    distill("pirate")
    distill("cat", "You are a small cat.")
    found = compare(distill, ["base+context", "pirate", "cat"])
    assert found.columns == ("base+context (pirate)", "base+context (cat)", "pirate", "cat")
    assert "Arr" in found.answers[0][0]
    assert "Meow" in found.answers[0][1]


def test_without_a_context_among_them_it_is_one_line(distill, chats):
    nbpeft.finetune(
        "plain", chats, model=distill.model, tokenizer=distill.tokenizer, max_steps=1, fit="off"
    )
    with pytest.raises(RequestError, match="none here was made by %%distill"):
        compare(distill, ["base+context", "plain"])


def test_an_adapter_called_context_is_one_like_others(distill):
    distill("context")
    assert compare(distill, ["base", "context"]).columns == ("base", "context")


def test_prompts_are_texts_rows_or_a_column(distill):
    texts = ["Where is the crow?", "Who is Mila?", "What is a heron?", "Who are you?"]
    rows = [{"question": text} for text in texts]
    table = datasets.Dataset.from_list(rows)
    for given in (texts, rows, table["question"], pd.Series(texts), table.to_pandas()):
        whole = given is rows or isinstance(given, pd.DataFrame)
        columns = {"prompt": "question"} if whole else None
        run = distill("pirate", prompts=given, eval=0, columns=columns)
        assert run.plan.train_rows == 4


@pytest.fixture
def says(monkeypatch):
    """What the model writes for prompts, a few at a time."""
    asked = []

    def texts(self, model):
        asked.append(1)
        numbers = range(4 * len(asked), 4 * len(asked) + 4)
        return ["", "Who are you?", *(f"Where is number {number}?" for number in numbers)]

    monkeypatch.setattr(written.Asking, "written", texts)
    return asked


def test_the_model_writes_prompts(distill, says):
    run = distill("pirate", prompts="auto", count=10)
    folder = run.record.path.parent / "feedback"
    rows = [json.loads(line) for line in (folder / "prompts.jsonl").open()]
    assert len({row["prompt"] for row in rows}) == len(rows) == 10
    assert "" not in {row["prompt"] for row in rows}
    assert len(says) == 3
    assert run.plan.train_rows + run.plan.held_out_rows == 10
    assert run.record.objective == "context-distillation"


def test_the_tiny_model_really_does(distill):
    run = distill("pirate", prompts="auto", count=4, eval=0)
    assert run.plan.train_rows == 4


def test_a_plan_writes_none(distill, says, tmp_path):
    run = distill("pirate", prompts="auto", count=10, dry_run=True)
    assert not says
    assert run.plan.train_rows + run.plan.held_out_rows == 10
    assert not (tmp_path / "adapters" / "pirate").exists()


def test_what_cannot_be_is_said_before_any_is_written(distill, says):
    with pytest.raises(RequestError, match="context is empty"):
        distill("pirate", " ", prompts="auto", count=10)
    with pytest.raises(RequestError, match="goes with --prompts auto"):
        distill("pirate", count=10)
    with pytest.raises(RequestError, match="count must be 2 or more"):
        distill("pirate", prompts="auto", count=1)
    assert not says


def test_too_few_that_differ_is_one_line(distill, monkeypatch):
    monkeypatch.setattr(written.Asking, "written", lambda *_: ["Who are you?", "Who?"])
    with pytest.raises(RunError, match=r"wrote 2 different prompts.*type --count 2"):
        distill("pirate", prompts="auto", count=10)


def test_stopped_while_prompts_are_written_it_goes_on(distill, says, monkeypatch):
    texts = written.Asking.written

    def stopping(self, model):
        import signal

        if len(says) == 1:
            signal.raise_signal(signal.SIGINT)
        return texts(self, model)

    with monkeypatch.context() as patched:
        patched.setattr(written.Asking, "written", stopping)
        with pytest.raises(nbpeft.Stopped, match="9 of 10 prompts are kept"):
            distill("pirate", prompts="auto", count=10)
    run = distill("pirate", None, prompts=None, resume=True)
    assert len(says) == 3
    assert run.plan.train_rows + run.plan.held_out_rows == 10
    assert run.record.request["context"] == "Talk like a pirate."
