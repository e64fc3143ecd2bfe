"""A comparison's widget: what the page is sent, and what its clicks do in the kernel.

Without a frontend: the widget is looked at as the kernel holds it. JupyterLab's own is in
tests/browser.
"""

from __future__ import annotations

import gc
import json

import pytest
from conftest import differences, state_of
from test_compare import PROMPTS, compared, tuned  # noqa: F401  the fixture

import nbpeft
from nbpeft.comparison import view as view_
from nbpeft.widgets import MIME

EVIL = "<script>alert(1)</script>\x1b[31m\u202e"


@pytest.fixture
def opened(tuned, monkeypatch):  # noqa: F811
    """`opened(comparison)`: its view; `.displays`, and `.jobs` for the kernel's own thread."""
    displays, jobs, names = {}, [], {}

    def show(bundle, *, raw, display_id):
        displays[display_id] = bundle

    monkeypatch.setattr(view_, "display", show)
    monkeypatch.setattr(view_, "update_display", show)
    monkeypatch.setattr(nbpeft.variables, "namespace", lambda: names)

    def open_(comparison):
        view = view_.View(comparison, jobs.append)
        view.show()
        return view

    open_.displays, open_.jobs, open_.names, open_.tune = displays, jobs, names, tuned
    return open_


def click(opened, view, **message):
    view._heard(view.widget, message, [])
    opened.jobs.pop(0)()


def html(opened):
    (bundle,) = opened.displays.values()
    return bundle["text/html"]


def test_what_is_sent_is_the_table(opened):
    comparison = compared(opened.tune, ["base", "one"])
    table = opened(comparison).widget.table
    assert table["columns"] == ["base", "one"]
    assert [row["prompt"] for row in table["rows"]] == PROMPTS
    texts = [tuple(answer["text"] for answer in row["answers"]) for row in table["rows"]]
    assert texts == list(comparison.answers)
    marks = {mark for row in table["rows"] for _, mark in row["answers"][1]["spans"]}
    assert marks - {""} <= {"strong", "light"}
    assert "strong" in marks
    assert [figure[0] for figure in table["figures"]] == ["new tokens", "time"]
    assert json.dumps(table, allow_nan=False)
    assert html(opened) == comparison.table()._repr_mimebundle_()["text/html"]
    assert MIME in next(iter(opened.displays.values()))


def test_a_prompt_more_is_answered_as_the_others_are(opened):
    view = opened(compared(opened.tune, ["base", "one"], PROMPTS[:1]))
    before = state_of(opened.tune.model, opened.tune.tokenizer)
    for prompt in PROMPTS[1:]:
        click(opened, view, prompt=prompt)
    assert view.widget.status == {"busy": False, "text": ""}
    assert differences(before, state_of(opened.tune.model, opened.tune.tokenizer)) == []
    whole = compared(opened.tune, ["base", "one"])
    assert view.comparison == whole
    for name in ("base", "one"):
        mine, theirs = view.comparison.figures[name], whole.figures[name]
        assert mine.new_tokens == theirs.new_tokens
        assert mine.prompt_tokens == pytest.approx(theirs.prompt_tokens)
    assert PROMPTS[2] in html(opened)  # what the notebook saves


def test_an_adapter_more_is_asked_all_of_it(opened):
    opened.tune("two", max_steps=8, learning_rate=1e-2, eval=0)
    view = opened(compared(opened.tune, ["base", "one"]))
    assert view.widget.table["others"] == ["two"]
    click(opened, view, adapter="two")
    assert view.comparison == compared(opened.tune, ["base", "one", "two"])
    assert view.widget.table["others"] == []
    click(opened, view, adapter="two")
    assert "'two' is compared already" in view.widget.status["text"]
    click(opened, view, adapter="three")
    assert "three" in view.widget.status["text"]
    assert len(view.comparison.columns) == 3


def test_what_is_expected_counts_only_where_an_answer_is(opened):
    opened.tune("two", max_steps=8, learning_rate=1e-2, eval=0)
    said = compared(opened.tune, ["two"], PROMPTS[:2]).answers
    rows = [{"prompt": p, "completion": a} for p, (a,) in zip(PROMPTS, said, strict=False)]
    view = opened(compared(opened.tune, ["base", "one"], None, data=rows))
    click(opened, view, prompt=PROMPTS[2])
    click(opened, view, adapter="two")
    figures = {figure[0]: figure[1:] for figure in view.widget.table["figures"]}
    assert figures["as expected"][0].endswith(" of 2")
    assert figures["as expected"][2] == "2 of 2"


def test_a_vote_is_a_row_that_dpo_takes(opened, working_folder):
    view = opened(compared(opened.tune, ["base", "one"]))
    click(opened, view, vote=[0, 1])
    assert [row["best"] for row in view.widget.table["rows"]] == [1, None, None]
    base, one = view.comparison.answers[0]
    (pair,) = opened.names["ratings"].preferences()
    assert pair == {"prompt": PROMPTS[0], "chosen": one, "rejected": base}
    assert {row["adapter"] for row in opened.names["ratings"]} == {"base", "one@1"}
    click(opened, view, vote=[0, 0])  # another mind
    (pair,) = opened.names["ratings"].preferences()
    assert (pair["chosen"], pair["rejected"]) == (base, one)
    lines = (working_folder / "ratings" / "ratings.jsonl").read_text().splitlines()
    assert len(lines) == 2
    opened.tune("better", objective="dpo", data=opened.names["ratings"] * 4, eval=0, max_steps=1)


def test_a_vote_that_says_nothing_is_one_line(opened):
    view = opened(compared(opened.tune, ["base", "none"]))
    click(opened, view, vote=[0, 1])
    assert view.widget.status["text"] == "The answers are the same there: no one is better."
    assert view.voted == {}
    opened.names["ratings"] = "mine"
    other = opened(compared(opened.tune, ["base", "one"]))
    click(opened, other, vote=[0, 1])
    assert "holds something else" in other.widget.status["text"]
    assert opened.names["ratings"] == "mine"


def test_hostile_words_are_shown_and_nothing_odd_is_done(opened):
    view = opened(compared(opened.tune, ["base", "one"], PROMPTS[:1]))
    click(opened, view, prompt=EVIL)
    sent = json.dumps(view.widget.table, ensure_ascii=False)
    assert "\x1b" not in sent
    assert "\u202e" not in sent
    assert "<script>" not in html(opened)
    for odd in ({"prompt": 3}, {"adapter": None}, {"vote": 1}, {"vote": [9, 0]}):
        before = view.comparison
        click(opened, view, **odd)
        assert view.comparison is before
        assert view.widget.status["busy"] is False
    for odd in ({"eval": "1"}, {}, None, {"prompt": "a", "adapter": "b"}):
        view._heard(view.widget, odd, [])
    assert opened.jobs == []


def test_it_keeps_no_model(opened):
    comparison = compared(opened.tune, ["base", "one"])
    view = opened(comparison)
    comparison.again.session._handles.clear()
    gc.collect()
    click(opened, view, prompt="Hi")
    assert view.widget.status["text"].startswith("The model is gone; load it")
