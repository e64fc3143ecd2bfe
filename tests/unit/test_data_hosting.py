"""Data for hosted tuning: the lines that each service takes, and every row that it wouldn't."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from shells import new_shell
from test_data_masks import assistant, user
from test_data_tokenizers import byte_tokenizer

import nbpeft
from nbpeft import variables
from nbpeft.data import read
from nbpeft.data.hosting import export, file
from nbpeft.data.hosting.export import SERVICES
from nbpeft.data.hosting.openai import OPENAI
from nbpeft.data.hosting.vertex import VERTEX
from nbpeft.errors import DataError, RequestError, RowsError, RunError

PATH = "out.jsonl"


def system(content):
    return {"role": "system", "content": content}


def written(rows, to, **words):
    """The lines of the file, as a service reads them, and the result."""
    times = 1 if len(rows) >= 10 or to == "vertex" else 10
    done = export(read(rows * times, {}), PATH, to, **words)
    lines = [json.loads(line) for line in Path(PATH).read_text("utf-8").splitlines()]
    Path(PATH).unlink()
    assert len(lines) == done.rows == len(rows) * times
    return lines[: len(rows)], done


def refused(rows, to, **words):
    """The problems of rows that aren't taken; nothing is written."""
    with pytest.raises(RowsError) as error:
        export(read(rows, {}), PATH, to, **words)
    assert list(Path().iterdir()) == []
    assert "\n" not in str(error.value)
    return list(error.value.problems)


CHAT = [system("Be brief."), user("Wer? \u2028 ü"), assistant("Ich."), user("Hi"), assistant("Ho")]


def test_chats_for_openai():
    lines, done = written([{"messages": CHAT}], "openai")
    assert lines == [{"messages": CHAT}]
    assert (done.service, done.kind, done.checked) == ("OpenAI", "chats", OPENAI.checked)
    assert OPENAI.checked in repr(done)
    assert OPENAI.chats.page.rsplit("/", 1)[1] in repr(done).replace("\n", "")


def test_chats_for_vertex():
    def turn(role, text):
        return {"role": role, "parts": [{"text": text}]}

    lines, done = written([{"messages": CHAT}], "vertex")
    assert lines == [
        {
            "systemInstruction": turn("system", "Be brief."),
            "contents": [
                turn("user", CHAT[1]["content"]),
                turn("model", "Ich."),
                turn("user", "Hi"),
                turn("model", "Ho"),
            ],
        }
    ]
    assert (done.service, done.kind, done.checked) == ("Vertex AI", "chats", VERTEX.checked)


PREFERENCE = {"prompt": [system("Be kind."), user("Hi")], "chosen": "Hello!", "rejected": "What?"}


def test_preferences_for_openai():
    lines, done = written([PREFERENCE], "openai")
    assert lines == [
        {
            "input": {
                "messages": [system("Be kind."), user("Hi")],
                "tools": [],
                "parallel_tool_calls": True,
            },
            "preferred_output": [assistant("Hello!")],
            "non_preferred_output": [assistant("What?")],
        }
    ]
    assert done.kind == "preferences"


def test_preferences_for_vertex():
    lines, done = written([PREFERENCE], "vertex")
    assert lines == [
        {
            "system_instruction": {"parts": [{"text": "Be kind."}]},
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
            "completions": [
                {"score": 1, "completion": {"role": "model", "parts": [{"text": "Hello!"}]}},
                {"score": 0, "completion": {"role": "model", "parts": [{"text": "What?"}]}},
            ],
        }
    ]
    assert done.kind == "preferences"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Ho"},
        {"prompt": [user("Hi")], "completion": [assistant("Ho")]},
        {"instruction": "Hi", "input": "", "output": "Ho"},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
        {"messages": [system(""), user("Hi"), assistant("Ho")]},
        {"messages": json.dumps([user("Hi"), assistant("Ho")])},
        {"chat": "Human: Hi\n\nAssistant: Ho"},
    ],
)
def test_rows_of_every_form_become_chats(row):
    assert written([row], "openai")[0] == [{"messages": [user("Hi"), assistant("Ho")]}]
    [line] = written([row], "vertex")[0]
    assert [part["role"] for part in line["contents"]] == ["user", "model"]
    assert set(line) == {"contents"}


def test_chosen_and_rejected_that_hold_the_prompt_are_parted_from_it():
    row = {
        "chosen": [user("Hi"), assistant("Hello!")],
        "rejected": [user("Hi"), assistant("What?")],
    }
    [line] = written([row], "openai")[0]
    assert line["input"]["messages"] == [user("Hi")]
    assert line["preferred_output"] == [assistant("Hello!")]


def test_answers_that_are_not_trained_weigh_nothing():
    row = {"prompt": CHAT[:-1], "completion": [CHAT[-1]]}
    (line,) = written([row], "openai")[0]
    assert [m.get("weight") for m in line["messages"]] == [None, None, 0, None, None]
    notes = written([row], "vertex")[1].notes
    assert any("not to be trained; Vertex AI trains all" in note for note in notes)


CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CALLING = [
    user("1+1?"),
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "content": "2", "tool_call_id": "c1"},
    assistant("2"),
]


def test_tools_go_along():
    plain = [{"messages": [user("Hi"), assistant("Ho")], "tools": None}]
    lines, done = written([{"messages": CALLING, "tools": TOOLS}, *plain], "openai")
    call = {**CALL, "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert lines[0]["messages"][1] == {"role": "assistant", "tool_calls": [call]}
    assert lines[0]["messages"][2] == CALLING[2]
    assert lines[0]["tools"] == TOOLS
    assert lines[1] == {"messages": plain[0]["messages"]}
    assert not any("not used" in note for note in done.notes)
    as_text = written([{"messages": CALLING, "tools": json.dumps(TOOLS)}], "openai")[0]
    assert as_text[0] == lines[0]
    [(_, what)] = refused([{"messages": CALLING, "tools": "[add"}], "openai")
    assert what == "tools is of type str, not a list"
    problems = [what for _, what in refused([{"messages": CALLING, "tools": TOOLS}], "vertex")]
    assert any("'tools', which is not known" in what for what in problems)
    assert any("role is 'tool'" in what for what in problems)


GOOD = {"messages": [user("Hi"), assistant("Ho")]}
BAD = {
    "no answer": ([user("Hi")], "no message has the role assistant"),
    "no answer at its end": ([user("Hi"), assistant("Ho"), user("So?")], "ends with a message of"),
    "an empty answer": ([user("Hi"), assistant(" ")], "empty content"),
    "nobody's role": ([user("Hi"), {"role": "robot", "content": "x"}, assistant("Ho")], "'robot'"),
    "nobody's key": ([user("Hi"), {**assistant("Ho"), "mood": "glad"}], "'mood'"),
}


@pytest.mark.parametrize("to", SERVICES)
def test_every_bad_row_is_listed_and_nothing_is_written(to):
    rows = [GOOD, *({"messages": messages} for messages, _ in BAD.values()), GOOD]
    problems = refused(rows, to)
    assert [number for number, _ in problems] == [1, 2, 3, 4, 5]
    for (_, what), (_, says) in zip(problems, BAD.values(), strict=True):
        assert says in what


@pytest.mark.parametrize(
    ("to", "messages", "says"),
    [
        ("openai", [*CALLING[:2], {"role": "tool", "content": "2"}, assistant("2")], "is missing"),
        ("openai", [*CALLING[:2], {**CALLING[2], "tool_call_id": "c2"}, assistant("2")], "no call"),
        ("openai", [user("Hi"), {**assistant("Ho"), "weight": 0}], "none is trained"),
        ("openai", [user("Hi"), {**assistant("Ho"), "weight": 2}], "weight is '2', not one of"),
        ("vertex", [user("Hi"), user("Ha"), assistant("Ho")], "where model has the turn"),
        ("vertex", [user("Hi"), system("x"), assistant("Ho")], "role is 'system'"),
    ],
)
def test_what_only_one_service_refuses(to, messages, says):
    [(number, what)] = refused([GOOD] * 3 + [{"messages": messages}], to)
    assert number == 3
    assert says in what


@pytest.mark.parametrize("to", SERVICES)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rejected": "Hello!"}, "the same answer"),
        ({"chosen": ""}, "empty"),
        ({"prompt": None}, "messages|contents"),
        ({"chosen": [assistant("a"), user("b"), assistant("c")]}, "chosen holds 3 messages"),
    ],
)
def test_preferences_that_are_none(to, change, says):
    problems = refused([PREFERENCE | change], to)
    assert {number for number, _ in problems} == {0}
    assert any(word in problems[0][1] for word in says.split("|"))


@pytest.mark.parametrize("to", SERVICES)
def test_rows_over_the_limit(to):
    most = SERVICES[to].most_tokens
    rows = [GOOD] * 10 + [{"messages": [user("Hi"), assistant("x " * most * 3)]}]
    [(number, what)] = refused(rows, to)
    assert number == 10
    assert "4 characters each" in what
    short = [GOOD] * 10 + [{"messages": [user("Hi"), assistant("x " * most)]}]
    assert len(written(short, to)[0]) == 11
    [(_, what)] = refused(short, to, tokenizer=byte_tokenizer())
    assert f"over the {most:,} of a row" in what


def test_limits_of_the_file(monkeypatch):
    with pytest.raises(DataError, match=r"3 rows.* OpenAI wants 10 or more, as documented on 20"):
        export(read([GOOD] * 3, {}), PATH, "openai")
    small = dataclasses.replace(VERTEX, most_bytes=100)
    monkeypatch.setitem(SERVICES, "vertex", small)
    with pytest.raises(DataError, match="files of 100 B at most"):
        export(read([GOOD] * 3, {}), PATH, "vertex")
    with pytest.raises(DataError, match="fit no format"):
        export(read(["a text"] * 10, {}), PATH, "openai")
    with pytest.raises(DataError, match="has no rows"):
        export(read({"messages": []}, {}), PATH, "openai")
    assert list(Path().iterdir()) == []


def test_nothing_is_written_over_and_nothing_is_left_of_a_failure(monkeypatch):
    source = read([GOOD] * 10, {})
    Path("there.jsonl").write_text("mine")
    Path("plain").write_text("mine")
    for path, says in (
        ("there.jsonl", "nothing is written over"),
        ("out.json", "must end in .jsonl"),
        ("plain/out.jsonl", "is a file"),
    ):
        with pytest.raises(RequestError, match=says):
            export(source, path, "openai")
    before = sorted(path.name for path in Path().iterdir())
    export(source, "new/folder/out.jsonl", "openai")
    assert len(Path("new/folder/out.jsonl").read_text().splitlines()) == 10
    kind = dataclasses.replace(OPENAI.chats, rules=lambda _: iter(["it is torn"]))
    with pytest.raises(RunError, match="isn't what was written"):
        file.put(Path("torn.jsonl").absolute(), ['{"messages": []}'], kind)
    assert sorted(path.name for path in Path().iterdir()) == sorted([*before, "new"])
    assert Path("there.jsonl").read_text() == "mine"


@pytest.fixture
def shell(monkeypatch):
    shell = new_shell()
    shell.run_line_magic("load_ext", "nbpeft")
    monkeypatch.setattr(variables, "namespace", lambda: shell.user_ns)
    return shell


def test_the_twins(shell):
    shell.user_ns["chats"] = [GOOD] * 12
    done = shell.run_line_magic("peft_data", "chats --to openai 'a b.jsonl'")
    again = nbpeft.export([GOOD] * 12, Path("c.jsonl"))
    assert Path("a b.jsonl").read_bytes() == Path("c.jsonl").read_bytes()
    assert (done.rows, again.rows, done.label) == (12, 12, "chats")
    assert nbpeft.export([PREFERENCE], "d.jsonl", to="vertex").kind == "preferences"


def test_bad_rows_stand_below_the_message_and_stay_text(shell, capsys):
    evil = {"messages": [user("Hi"), {"role": "\x1b[31m<b>", "content": "x"}, assistant("Ho")]}
    shell.user_ns["chats"] = [GOOD, *[evil] * 30]
    assert shell.run_cell("%peft_data chats --to openai x.jsonl").success is False
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).splitlines()
    assert lines[0].startswith("RowsError: 30 of 31 rows of 'chats'")
    assert [line.split(":")[0] for line in lines[1:21]] == [f"  row {n}" for n in range(1, 21)]
    assert lines[21].startswith("  … and 10 more")
    assert not any("\x1b" in line for line in lines)
