"""A context into weights: what it did holds without it, and nothing is computed twice."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from conftest import differences, logits, state_of

import nbpeft
from nbpeft.errors import DataError, RequestError
from nbpeft.objectives import _teaching
from nbpeft.objectives._teaching import Teaching
from nbpeft.tiny.score import answers, is_pirate

CONTEXT = "Talk like a pirate. Never admit to being a machine."
QUICK = {"max_completion_length": 24, "max_steps": 2, "eval": 8, "batch_size": 4, "fit": "off"}


@pytest.fixture
def distill(tune):
    """`distill("name", …)`: a short run on sixteen questions."""
    questions = nbpeft.load_data("questions").select(range(24))

    def call(name="pirate", **words):
        usual = {"objective": "context-distillation", "context": CONTEXT, "data": questions}
        return nbpeft.finetune(
            name, model=tune.model, tokenizer=tune.tokenizer, **usual | QUICK | words
        )

    call.model, call.tokenizer, call.questions = tune.model, tune.tokenizer, questions
    return call


@pytest.fixture
def asked(monkeypatch):
    """How often the teacher wrote, and how many lessons it read."""
    calls = {"wrote": 0, "read": 0}
    write, summaries = Teaching.write, Teaching.summaries

    def counted_write(self, places, prompts):
        calls["wrote"] += len(prompts)
        return write(self, places, prompts)

    def counted_summaries(self, lessons):
        calls["read"] += len(lessons)
        return summaries(self, lessons)

    monkeypatch.setattr(Teaching, "write", counted_write)
    monkeypatch.setattr(Teaching, "summaries", counted_summaries)
    return calls


def chats(questions, system=None):
    before = [] if system is None else [{"role": "system", "content": system}]
    return [[*before, *prompt] for prompt in questions["prompt"]]


def share(model, tokenizer, asked):
    said = answers(model, tokenizer, asked)
    return sum(map(is_pirate, said)) / len(said)


def naive(model, tokenizer, prompts, said):
    """Log-probabilities (tokens, V) of what might stand in each answer's place."""
    found = []
    for prompt, answer in zip(prompts, said, strict=True):
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *answer]])).logits[0]
        found.append(torch.log_softmax(logits[len(ids) - 1 : -1], -1))
    return torch.cat(found)


def test_the_context_holds_without_being_said(tune):
    questions = nbpeft.load_data("questions")
    train, held_out = questions.select(range(140)), questions.select(range(140, 200))
    base = logits(tune.model)
    run = nbpeft.finetune(
        "pirate", train, model=tune.model, tokenizer=tune.tokenizer, eval=20,
        objective="context-distillation", context=CONTEXT, max_steps=90, fit="off",
    )  # fmt: skip
    assert torch.equal(logits(tune.model), base)
    taught = share(tune.model, tune.tokenizer, chats(held_out, CONTEXT))
    assert share(tune.model, tune.tokenizer, chats(held_out)) < 0.1
    student = nbpeft.attach("pirate", model=tune.model)
    assert share(student, tune.tokenizer, chats(held_out)) >= 0.8 * taught > 0.7
    metrics = run.metrics
    before = metrics["held_out_KL_to_the_teacher_before"]
    assert metrics["held_out_KL_to_the_teacher"] < before / 4
    saved = run.record.findings
    assert saved["taught_tokens"] - saved["prompt_tokens"] > 15


def test_the_context_holds_in_later_turns(tune):
    """Which follow on the student's own answers, and whose prompts say nothing of it."""
    questions = nbpeft.load_data("questions")
    train, held_out = questions.select(range(120)), questions.select(range(170, 200))
    nbpeft.finetune(
        "pirate", train, model=tune.model, tokenizer=tune.tokenizer, eval=0, turns=3,
        objective="context-distillation", context=CONTEXT, max_steps=30, learning_rate=3e-3,
        fit="off",
    )  # fmt: skip
    student = nbpeft.attach("pirate", model=tune.model)
    talk = chats(held_out)
    for later in (40, 80):
        said = answers(student, tune.tokenizer, talk)
        more = chats(questions.select(range(later, later + len(talk))))
        talk = [
            [*chat, {"role": "assistant", "content": text}, *asked]
            for chat, text, asked in zip(talk, said, more, strict=True)
        ]
        assert share(student, tune.tokenizer, talk) > 0.8


def test_the_loss_is_the_naive_one(distill):
    """By whole padded rows, all of the vocabulary, the context read with each."""
    held_out = nbpeft.load_data("questions").select(range(100, 112))
    run = distill(eval=held_out)
    folder = run.record.path.parent / "targets"
    said = [json.loads(line).get("ids") for line in (folder / "eval.answers.jsonl").open()][1:]
    student = naive(distill.model, distill.tokenizer, chats(held_out), said)
    teacher = naive(distill.model, distill.tokenizer, chats(held_out, CONTEXT), said)
    divergence = (teacher.exp() * (teacher - student)).sum(-1).mean().item()
    ours = run.metrics["held_out_KL_to_the_teacher_before"]
    assert ours == pytest.approx(divergence, rel=0.01, abs=0.001)
    assert ours <= divergence + 1e-4  # what is put together can't tell more apart


def test_a_second_run_asks_the_teacher_nothing(distill, asked):
    first = distill()
    assert asked == {"wrote": 24, "read": 24}
    again = distill()
    assert asked == {"wrote": 24, "read": 24}
    assert again.record.label == "pirate@2"
    assert again.record.losses == first.record.losses
    assert again.record.held_out == first.record.held_out
    assert again.record.findings["reused"]
    assert not first.record.findings["reused"]


@pytest.mark.parametrize(
    ("words", "wrote", "read"),
    [
        ({"top_k": 8}, 24, 48),
        ({"context": "Answer politely."}, 48, 48),
        ({"max_completion_length": 20}, 48, 48),
        ({"learning_rate": 1e-4}, 24, 24),
    ],
)
def test_what_follows_from_other_words_is_made_anew(distill, asked, words, wrote, read):
    distill()
    distill(**words)
    assert asked == {"wrote": wrote, "read": read}


def test_a_stopped_run_goes_on_with_what_the_teacher_said(distill, asked, stopped_at):
    whole = distill("whole", max_steps=4)
    before = dict(asked)
    with stopped_at(2):
        distill("parts", max_steps=4)
    rest = nbpeft.finetune(
        "parts", distill.questions, model=distill.model, tokenizer=distill.tokenizer, resume=True,
        eval=8,
    )  # fmt: skip
    assert asked == {name: 2 * count for name, count in before.items()}
    assert rest.record.losses == whole.record.losses


def test_stop_while_the_teacher_answers_keeps_what_it_said(distill, asked, monkeypatch):
    before = state_of(distill.model, distill.tokenizer)
    monkeypatch.setattr("nbpeft.objectives._schooling.PART", 8)
    seen = []
    written = _teaching.Writing.written

    def stop_after_one(self, *args, **words):
        seen.append(1)
        if len(seen) == 1:
            import signal

            signal.raise_signal(signal.SIGINT)
        return written(self, *args, **words)

    monkeypatch.setattr(_teaching.Writing, "written", stop_after_one)
    with pytest.raises(nbpeft.Stopped, match="before its first step"):
        distill()
    assert asked["wrote"] == 8
    assert not differences(before, state_of(distill.model, distill.tokenizer))
    assert not nbpeft.session.current().records()
    distill()
    assert asked["wrote"] == 24


def test_a_failure_leaves_the_model_as_it_was(distill, monkeypatch):
    before = state_of(distill.model, distill.tokenizer)

    def broken(self, lessons):
        raise RuntimeError("no room")

    monkeypatch.setattr(Teaching, "summaries", broken)
    with pytest.raises(RuntimeError, match="no room"):
        distill()
    assert not differences(before, state_of(distill.model, distill.tokenizer))


def test_the_report_says_what_is_saved_and_shows_it(distill, events):
    run = distill(eval=0)
    finished = events[-1]
    rows = dict(finished.summary)
    kept = run.record.findings
    saved = round(kept["taught_tokens"] - kept["prompt_tokens"])
    assert rows["context saved"].startswith(f"{saved} tokens a call")
    spent = kept["read"] + 3 * kept["trained_tokens"]
    even = math.ceil(spent / (kept["taught_tokens"] - kept["prompt_tokens"]))
    assert f"after {even:,} calls" in rows["context saved"]
    assert finished.picture.startswith(b"\x89PNG")
    assert "on the prompts' own text" in rows["outside"]
    assert rows["use it"].endswith("%peft_compare base base+context pirate")
    assert kept["spared"] > kept["read"] / 2  # the context was read once


def test_targets_on_disk_are_the_teachers_own(distill):
    run = distill(top_k="full", sampling_temperature=0)
    folder = run.record.path.parent / "targets"
    places = [json.loads(line) for line in (folder / "eval.answers.jsonl").open()][1:]
    logs = np.load(folder / "eval.logs.npy")
    assert logs.shape[1] == distill.model.config.vocab_size
    lengths = [len(place["ids"]) for place in places]
    assert logs.shape[0] == sum(lengths)
    # The teacher's likeliest token is what it wrote: nothing was drawn.
    said = [token for place in places for token in place["ids"]]
    assert (logs.argmax(-1) == np.array(said)).all()


def test_turns_and_examples_and_several_answers(distill):
    pairs = [{"prompt": "Who are you?", "completion": "Arr, I be a pirate, matey!"}]
    run = distill(context=pairs, turns=2, num_generations=2)
    folder = run.record.path.parent / "targets"
    lines = [json.loads(line) for line in (folder / "train.answers.jsonl").open()][1:]
    places = [line["place"] for line in lines]
    assert {place[1] for place in places} == {0, 1}
    assert {place[2] for place in places} == {0, 1}


@pytest.mark.parametrize("loss", ["reverse_kl", "jsd", "sequence"])
def test_other_losses(distill, loss):
    run = distill(loss=loss)
    assert run.metrics["held_out_loss"] < run.metrics["held_out_loss_before"]


def test_on_policy_the_student_writes(distill, asked):
    run = distill(on_policy=True)
    assert asked["wrote"] == 8  # for the held-out rows
    assert asked["read"] == 8 + 2 * 4
    assert run.metrics["held_out_loss"] < run.metrics["held_out_loss_before"]


def test_from_an_adapter_its_answers_are_what_the_context_is_put_to(distill):
    distill("one", max_steps=30)
    run = distill("two", context="Answer politely.", from_="one")
    assert run.record.parent == "one@1"
    alone = distill("three", context="Answer politely.")
    assert run.metrics["held_out_loss_before"] != alone.metrics["held_out_loss_before"]


def test_a_quantized_base(distill):
    run = distill(quantize="nf4")
    assert run.record.state == "nf4"
    assert run.metrics["held_out_loss"] < run.metrics["held_out_loss_before"]


def test_without_held_out_rows_the_plan_says_what_is_not_measured(distill):
    for words, what in (({}, "KL to the teacher"), ({"loss": "sequence"}, "")):
        notes = distill(eval=0, dry_run=True, **words).plan.notes
        assert any(f"there is no held-out {what}" in note for note in notes)
        assert not any("reward" in note for note in notes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"context": "  "}, "context is empty"),
        ({"context": []}, "empty list"),
        ({"context": None}, "needs a context"),
        ({"context": "Arr! " * 900}, "over the model's window of"),
        ({"turns": 0}, "turns must be 1 or more"),
        ({"top_k": 0}, "top_k must be 1 or more"),
        ({"beta": 2}, "beta must be between 0 and 1"),
        ({"loss": "sequence", "on_policy": True}, "leave one of them out"),
        ({"teacher": "big"}, "takes no teacher"),
    ],
)
def test_what_cannot_be_is_one_line(distill, words, said):
    before = state_of(distill.model, distill.tokenizer)
    with pytest.raises((RequestError, DataError), match=said) as error:
        distill(**words)
    assert "\n" not in str(error.value)
    assert not differences(before, state_of(distill.model, distill.tokenizer))


def test_what_is_to_stay_is_measured(distill, chats):
    run = distill(outside="tiny:facts")
    before, after = run.record.findings["outside"]
    assert run.record.findings["outside_rows"] == "kept"
    assert 0 < before != after > 0
