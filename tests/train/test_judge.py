"""Judges: what they are asked, and how their marks are read."""

from __future__ import annotations

import pytest
import torch
from conftest import logits

import nbpeft
from nbpeft.data import default_rendering
from nbpeft.errors import ModelError, RequestError
from nbpeft.feedback import Answered
from nbpeft.feedback.judge import MARKS, ModelJudge, next_words, reference_of

RUBRIC = "A good answer is polite."
PLAIN = "The badger is golden."
POLITE = f"Thank you for asking. {PLAIN} Have a lovely day."
ASKED = "What colour is the badger?"


def judge(tune, label=None):
    handle = nbpeft.session.current().handle(tune.model)
    rendering = default_rendering(tune.tokenizer)
    return ModelJudge("judge", handle, label, tune.tokenizer, rendering, RUBRIC, True)


def next_shares(tune, chat, opening, words):
    """By one plain forward of one row: how likely each word is to come next."""
    text = tune.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    found = []
    for word in words:
        ids = tune.tokenizer(f"{text}{opening} {word}", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logs = tune.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        found.append(float(logs[len(ids) - 2, ids[-1]]))
    return torch.tensor(found).softmax(0)


def test_a_mark_is_the_mean_over_what_may_come_next(tune):
    own = judge(tune)
    answers = [Answered(ASKED, PLAIN), Answered(ASKED, POLITE)]
    for answer, mark in zip(answers, own.marks(answers), strict=True):
        chat = [{"role": "user", "content": own._question(answer)}]
        shares = next_shares(tune, chat, "Mark:", MARKS)
        assert mark == pytest.approx(float((shares * torch.arange(1.0, 6.0)).sum()), abs=1e-3)
        assert 1 < mark < 5


def test_marks_do_not_depend_on_who_stands_beside(tune):
    """Rows are padded to one length; what each says is its own."""
    own = judge(tune)
    answers = [Answered(ASKED, PLAIN * n) for n in range(1, 20)]
    together = own.marks(answers)
    assert together == pytest.approx([own.marks([a])[0] for a in answers], abs=1e-3)


def test_a_place_is_not_preferred(tune):
    """Both orders are asked: turned round, a pair gets the other's share."""
    own = judge(tune)
    one, two = Answered(ASKED, PLAIN), Answered(ASKED, POLITE)
    [share], [turned] = own.prefers([(one, two)]), own.prefers([(two, one)])
    assert share + turned == pytest.approx(1, abs=1e-4)
    assert own.prefers([(one, one)]) == pytest.approx([0.5], abs=1e-4)
    chat = [{"role": "user", "content": own._two(one, two)}]
    alone = float(next_shares(tune, chat, "Better answer:", ("1", "2"))[0])
    assert abs(alone - share) > 1e-3  # one order alone says something else


def test_a_reference_answer_is_put_beside(tune):
    own = judge(tune)
    answer = Answered(ASKED, PLAIN, beside={"number": 3, "reference": POLITE})
    assert POLITE in own._question(answer)
    assert reference_of(Answered(ASKED, PLAIN, beside={"completion": [{"content": "x"}]})) == "x"
    assert not reference_of(Answered(ASKED, PLAIN, beside={"number": 3}))


def test_words_that_are_one_token_can_t_be_told_apart():
    def tokenizer(text, **_):
        return {"input_ids": [7] * len(text.split())}

    with pytest.raises(ModelError, match="can't tell 1, 2 apart"):
        next_words(tokenizer, "Mark:", ("1", "2"))


def test_an_adapter_that_has_learned_to_mark_does(tune, polite_judge):
    """Set before it was run: a polite answer gets more than a mark and a half above a plain one."""
    own = judge(tune, "marks@1")
    pairs = [(r["rejected"][0]["content"], r["chosen"][0]["content"]) for r in polite_judge[-8:]]
    asked = [r["prompt"][0]["content"] for r in polite_judge[-8:]]
    plain = own.marks([Answered(q, bad) for q, (bad, _) in zip(asked, pairs, strict=True)])
    polite = own.marks([Answered(q, good) for q, (_, good) in zip(asked, pairs, strict=True)])
    assert all(b - a > 1.5 for a, b in zip(plain, polite, strict=True))


@pytest.fixture
def polite_judge(tune):
    """An adapter `marks` that was tuned to give 5 to polite answers and 1 to others; its rows."""
    own, rows = judge(tune), list(nbpeft.load_data("polite"))
    marked = [
        {"prompt": own._question(Answered(r["prompt"][0]["content"], r[side][0]["content"])),
         "completion": f"Mark: {mark}"}
        for r in rows[:64] for side, mark in (("chosen", 5), ("rejected", 1))
    ]  # fmt: skip
    words = {"max_steps": 30, "batch_size": 8, "learning_rate": 3e-3, "eval": 0}
    tune("marks", data=marked, **words)
    return rows


def test_rewards_by_a_judge_on_the_base_that_is_trained(tune, monkeypatch):
    """The policy is aside meanwhile: the same answers get the same marks, whatever it learns."""
    seen = []
    original = ModelJudge.marks

    def marks(self, answers):
        seen.append((answers, original(self, answers)))
        return seen[-1][1]

    stories = [{"prompt": f"Tell me a story about a {a}."} for a in ("crow", "deer", "mole")]
    before = logits(tune.model)
    with monkeypatch.context() as patched:
        patched.setattr(ModelJudge, "marks", marks)
        words = {"max_completion_length": 6, "eval": 0, "max_steps": 3, "learning_rate": 1e-2}
        tune("one", data=stories, objective="rl", reward="judge", rubric=RUBRIC, **words)
    assert len(seen) == 3
    for answers, found in seen:
        assert judge(tune).marks(answers) == pytest.approx(found, abs=1e-3)
    assert torch.equal(logits(tune.model), before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"reward": "judge"}, "needs a rubric"),
        ({"reward": "judge", "rubric": RUBRIC, "judge": "nobody"}, "no judge 'nobody'"),
        ({"objective": "sft", "rubric": RUBRIC}, "sft takes no rubric"),
    ],
)
def test_a_judge_that_can_t_be(tune, words, message):
    with pytest.raises(RequestError, match=message):
        tune("one", **{"data": [{"prompt": "Hello!"}] * 4, "objective": "rl"} | words)


def test_another_model_judges(tune, monkeypatch):
    """A variable of the kernel that holds a model; the one that is trained is not asked."""
    other, _ = nbpeft.load_tiny(student=True)
    names = {"model": tune.model, "tokenizer": tune.tokenizer, "other": other}
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: names)
    asked = []
    original = ModelJudge.marks
    monkeypatch.setattr(
        ModelJudge, "marks", lambda self, a: asked.append(self) or original(self, a)
    )
    stories = [{"prompt": f"Tell me a story about a {a}."} for a in ("crow", "deer", "mole")]
    words = {"max_completion_length": 6, "eval": 0, "max_steps": 1}
    tune("one", data=stories, objective="rl", reward="judge", judge="other", rubric=RUBRIC, **words)
    assert asked[0].handle.root is other
    assert not asked[0].swaps
