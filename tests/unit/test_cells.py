"""What is typed to distil: a context below, or two models on the line."""

from __future__ import annotations

import pytest

from nbpeft.cells import (
    CONTEXT,
    KNOWLEDGE,
    distill_call,
    distill_cell,
    parted,
    read_context,
    renamed,
)
from nbpeft.errors import RequestError
from nbpeft.request import Request


def test_a_body_is_the_context():
    request, rows = distill_cell("pirate --prompts questions --max-steps 90", "Talk.\n\nArr: yes\n")
    assert (request.name, request.data, request.max_steps) == ("pirate", "questions", 90)
    assert request.context == "Talk.\n\nArr: yes"
    assert (request.objective, request.method) == (CONTEXT, "lora")
    assert rows is None


def test_options_stand_above_the_first_line_of_dashes():
    body = "turns: 2\nrank: 4\n---\nSay:\n\n---\nNo.\n"
    request, _ = distill_cell("cat --prompts q", body)
    assert request.context == "Say:\n\n---\nNo."
    assert (request.turns, request.rank) == (2, 4)
    assert request.origins["turns"] == "body"
    request, _ = distill_cell("cat --prompts q", "---\nkey: value\n")
    assert request.context == "key: value"


def test_prompts_may_stand_in_the_body():
    request, rows = distill_cell("cat", "prompts: [a, b]\n---\nMeow.")
    assert rows == ["a", "b"]
    assert request.data is None


def test_examples_are_a_list_of_prompts_with_completions():
    text = "- prompt: Who?\n  completion: Me.\n- prompt: Where?\n  completion: Here."
    assert read_context(text) == [
        {"prompt": "Who?", "completion": "Me."},
        {"prompt": "Where?", "completion": "Here."},
    ]
    for rules in ("- Be polite.\n- Be short.", "- prompt: only", "- [broken"):
        assert read_context(rules) == rules


def test_with_a_teacher_the_body_is_options():
    request, _ = distill_cell("small --teacher big --student little --data t", "epochs: 2")
    assert (request.teacher, request.model, request.data) == ("big", "little", "t")
    assert (request.objective, request.method, request.epochs) == (KNOWLEDGE, "full", 2)
    assert distill_cell("small --teacher big --method lora", "")[0].method == "lora"


def test_a_run_goes_on_as_what_it_was():
    request, _ = distill_cell("pirate --resume", "")
    assert request.resume
    assert request.context is None


def test_parted():
    assert parted("a\nb") == ("", "a\nb")
    assert parted("a: 1\n---\nb\n---") == ("a: 1", "b\n---")


@pytest.mark.parametrize(
    ("line", "body", "said"),
    [
        ("x --prompts q", "", "Say who is learned from"),
        ("x --prompts q", "  \n ", "Say who is learned from"),
        ("x --prompts q", "a: 1\n---\n \n", "Say who is learned from"),
        ("x --prompts q", "just words\n---\nTalk.", "must be options"),
        ("x --teacher big", "a: 1\n---\nTalk.", "two ways"),
        ("x --prompts q --data r", "Talk.", "prompts and data are the same here"),
        ("x --teacher big --student a --model b", "", "student and model are the same here"),
        ("x --context y", "Talk.", "given twice"),
        ("x --objective sft", "Talk.", "leave it out"),
        ("x y", "Talk.", "One NAME is wanted"),
        ("", "Talk.", "The adapter needs a name: %%distill NAME"),
        ("x --help", "Talk.", "%%distill?"),
    ],
)
def test_what_cannot_be_is_one_line(line, body, said):
    with pytest.raises(RequestError) as error:
        distill_cell(line, body)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_call_takes_the_same_words():
    cell, _ = distill_cell("p --prompts q --rank 4", "Talk.")
    call = distill_call("p", renamed({"prompts": "q", "rank": 4, "context": "Talk."}))
    assert cell == call
    with pytest.raises(RequestError, match="Say who is learned from"):
        distill_call("p", {"prompts": "q"})


def test_a_request_with_a_context_is_read_back():
    request, _ = distill_cell("p --prompts q", "- prompt: a\n  completion: b")
    assert Request.from_dict(request.to_dict()).context == [{"prompt": "a", "completion": "b"}]
