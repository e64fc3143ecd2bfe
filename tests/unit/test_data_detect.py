"""What rows look like: formats, odd names, spellings of chats, and what is ambiguous."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from nbpeft.data import read
from nbpeft.data.reading.checks import check_rows
from nbpeft.data.reading.detect import choose
from nbpeft.data.reading.examples import Chat, Example, Pair, Text
from nbpeft.data.reading.formats import FORMATS, SFT
from nbpeft.data.reading.shapes import Reading
from nbpeft.data.reading.spellings import SPELLINGS
from nbpeft.errors import DataError

TALK = [("user", "a b"), ("assistant", "c"), ("user", "d"), ("assistant", "e\n\nf")]
MESSAGES = [{"role": role, "content": content} for role, content in TALK]
SHAREGPT = [
    {"from": {"user": "human", "assistant": "gpt"}[role], "value": content}
    for role, content in TALK
]
HH = "\n\nHuman: a b\n\nAssistant: c\n\nHuman: d\n\nAssistant: e\n\nf"


def reading_of(rows: Any, columns: dict[str, str] | None = None) -> Reading:
    return choose(read(rows, {}).dataset, SFT, columns, "rows")


def examples_of(rows: Any, columns: dict[str, str] | None = None) -> list[Example]:
    source = read(rows, {})
    reading = choose(source.dataset, SFT, columns, "rows")
    check_rows(source.dataset, reading, "rows")
    return [reading.example(row) for row in source.dataset]


# --- chats, however they are written


@pytest.mark.parametrize(
    "column",
    [
        {"messages": MESSAGES},
        {"conversations": SHAREGPT},
        {"messages": SHAREGPT},
        {"anything": MESSAGES, "id": "a b"},
        {"text": HH},
        {"text": HH.strip()},
        {"messages": json.dumps(MESSAGES)},
        {"conversations": json.dumps(SHAREGPT)},
        {"messages": str(MESSAGES)},
        {"conversations": str(SHAREGPT)},
    ],
)
def test_a_chat_is_read_however_it_is_written(column: dict[str, Any]) -> None:
    assert examples_of([column] * 3) == [Chat(MESSAGES)] * 3


def test_every_spelling_is_met_by_the_test_above() -> None:
    assert len(SPELLINGS) == 7


def test_a_frame_of_arrays_of_messages_as_pandas_reads_parquet() -> None:
    frame = pd.DataFrame({"conversations": [np.array(SHAREGPT, dtype=object)] * 2})
    assert examples_of(frame) == [Chat(MESSAGES)] * 2


def test_roles_of_sharegpt() -> None:
    turns = [("system", "s"), ("human", "a"), ("gpt", "b"), ("user", "c"), ("chatgpt", "d")]
    rows = [{"conversations": [{"from": who, "value": said} for who, said in turns]}]
    [example] = examples_of(rows)
    assert isinstance(example, Chat)
    roles = [message["role"] for message in example.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (SHAREGPT, [{"from": "<b>\x1b", "value": "a"}], r"message 0 is from '<b>\\x1b', which is"),
        (SHAREGPT, [SHAREGPT[0], {"from": "gpt"}], r"message 1 \(role assistant\) has no content"),
        (SHAREGPT, None, "it is missing"),
        (HH, "no talk", "it is no transcript: 'no talk' doesn't begin with 'Human:'"),
        (HH, "Human: only", "no message has the role assistant"),
        (HH, HH + "\n\nAssistant: ", r"message 4 \(role assistant\) has an empty content"),
        (json.dumps(MESSAGES), '[{"role"', "it is not JSON, as the first rows are: "),
        (json.dumps(MESSAGES), "[" * 100_000, "it is not JSON, as the first rows are: "),
        (str(MESSAGES), "[1 +]", "it is not a Python list, as the first rows are: "),
        (str(MESSAGES), "{}", "it is of type dict"),
    ],
)
def test_a_row_that_is_written_otherwise_is_named(good: Any, bad: Any, message: str) -> None:
    rows = [{"c": good}] * 30 + [{"c": bad}]
    source = read(rows, {})
    reading = choose(source.dataset, SFT, None, "rows")
    with pytest.raises(DataError, match=rf"^Row 30 of 'rows', column 'c': {message}") as raised:
        check_rows(source.dataset, reading, "rows")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("good", [SHAREGPT, HH, json.dumps(MESSAGES)])
def test_one_bad_row_among_the_first_doesn_t_change_how_all_are_read(good: Any) -> None:
    with pytest.raises(DataError, match=r"^Row 1 of 'rows', column 'c': it is (no|not|missing)"):
        examples_of([{"c": good}, {"c": None if good is SHAREGPT else "oops"}, {"c": good}])


def test_the_user_may_want_a_transcript_as_raw_text() -> None:
    assert reading_of([{"text": HH}]).format.name == "messages"
    assert examples_of([{"text": HH}], {"text": "text"}) == [Text(HH)]
    assert examples_of([{"messages": MESSAGES, "b": HH}], {"messages": "b"}) == [Chat(MESSAGES)]


# --- instructions


def test_the_input_of_alpaca_stands_under_its_instruction() -> None:
    rows = [
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"instruction": "Hi.", "input": "", "output": "Ho."},
        {"instruction": "Hi.", "input": None, "output": "Ho."},
    ]
    asked = [example.messages[0]["content"] for example in examples_of(rows)]  # type: ignore[union-attr]
    assert asked == ["Add.\n\n1 2", "Hi.", "Hi."]
    assert [e.messages[1]["content"] for e in examples_of(rows)] == ["3", "Ho.", "Ho."]  # type: ignore[union-attr]
    without = [{"instruction": "Hi.", "output": "Ho."}]
    assert examples_of(without) == examples_of(rows)[1:2]
    dolly = [{"instruction": "Add.", "context": "1 2", "response": "3", "category": "x y"}]
    assert examples_of(dolly) == examples_of(rows)[:1]


def test_what_alpaca_can_t_do_without() -> None:
    with pytest.raises(DataError, match=r"^Row 0 of 'rows', column 'output': it is missing"):
        examples_of([{"instruction": "a", "input": "b", "output": None}])
    with pytest.raises(DataError, match=r"^Row 1 of 'rows', column 'input': it is of type int"):
        examples_of(
            [
                {"instruction": "a", "input": "b", "output": "c"},
                {"instruction": "a", "input": 3, "output": "c"},
            ]
        )


# --- names


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        *((name, "completion") for name in FORMATS["prompt_completion"].columns["prompt"].also),
        *(("prompt", name) for name in FORMATS["prompt_completion"].columns["completion"].also),
        ("question", "answer"),
        ("Query", "Response"),
        ("input", "target"),
    ],
)
def test_odd_names_of_prompt_and_completion(prompt: str, completion: str) -> None:
    row = {"id": "no 1", prompt: "a b", completion: "5"}
    assert examples_of([row, row]) == [Pair("a b", "5")] * 2


def test_a_name_that_holds_no_text_is_not_meant() -> None:
    row = {"question": "a b", "answer": "some words", "target": 3}
    assert examples_of([row]) == [Pair("a b", "some words")]
    with pytest.raises(DataError, match="column 'answer': it is of type int"):
        examples_of([{"question": "a b", "answer": 3}])


def test_a_column_s_own_name_comes_first() -> None:
    row = {"prompt": "a b", "question": "c d", "completion": "e", "answer": "f g"}
    assert examples_of([row]) == [Pair("a b", "e")]
    assert examples_of([{"text": "a", "content": "b c"}]) == [Text("a")]


@pytest.mark.parametrize("name", ["body", "Content", "review", "tweet"])
def test_the_one_column_of_text_is_the_text(name: str) -> None:
    row = {"id": "row 1", "Unnamed: 0": "0 a", "user_id": "x y", "stars": 5, "tag": "b"}
    assert examples_of([row | {name: "some words"}] * 2) == [Text("some words")] * 2


def test_words_need_no_spaces_in_every_script() -> None:
    assert examples_of([{"评论": "很好的电影"}]) == [Text("很好的电影")]


def test_neither_an_index_nor_an_id_is_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"uuid": ["a b", "c d"], "n": [1, 2]}, index=["some words", "more words"])
    frame.to_csv(tmp_path / "rows.csv")
    frame.to_parquet(tmp_path / "rows.parquet")
    for given in (frame, str(tmp_path / "rows.csv"), str(tmp_path / "rows.parquet")):
        with pytest.raises(DataError, match="which fit no format"):
            reading_of(given)


def test_pictures_are_not_decoded_to_be_looked_at() -> None:
    made = datasets.Dataset.from_dict(
        {"text": ["a b"], "picture": [{"bytes": b"no", "path": None}]}
    )
    made = made.cast_column("picture", datasets.Image())
    assert choose(made, SFT, None, "rows").format.name == "text"


# --- more than one way


@pytest.mark.parametrize(
    ("row", "ways"),
    [
        ({"text": "a b", "messages": MESSAGES}, ["messages=messages", "text=text"]),
        ({"chosen": HH, "rejected": HH}, ["messages=chosen", "messages=rejected"]),
        (
            {"question": "a b", "response": "c d", "answer": "e f"},
            ["prompt=question,completion=answer", "prompt=question,completion=response"],
        ),
        (
            {"instruction": "a b", "output": "c d", "text": "e f"},
            ["instruction=instruction,output=output", "text=text"],
        ),
        (
            {"article": "a b", "summary": "c d", "id": 1},
            [
                "text=article",
                "text=summary",
                "prompt=article,completion=summary",
                "prompt=summary,completion=article",
            ],
        ),
    ],
)
def test_an_ambiguous_reading_is_an_error_that_lists_what_to_type(
    row: dict[str, Any], ways: list[str]
) -> None:
    with pytest.raises(DataError) as raised:
        reading_of([row])
    told = str(raised.value)
    assert "\n" not in told
    listed = told.rpartition("say which: ")[2].removesuffix(".").split(" or ")
    assert sorted(listed) == sorted(f"--columns {way}" for way in ways)
    for way in ways:  # each does what it says
        columns = dict(part.split("=") for part in way.split(","))
        assert dict(reading_of([row], columns).columns) == columns


def test_a_name_with_a_space_is_quoted_as_it_is_typed() -> None:
    with pytest.raises(DataError, match="--columns 'text=the title' or --columns 'text=the body'"):
        reading_of([{"the title": "a b", "the body": "c d"}])


HOSTILE = ["<script>", "</table>", "\x1b[31m", "\u202e", "a\nb", "x" * 1_000_000, ""]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_of_a_column_stays_in_its_line(name: str) -> None:
    reading = reading_of([{name: MESSAGES, f"{name} 2": 3}])
    note = reading.note([name, f"{name} 2"])
    assert dict(reading.columns) == {"messages": name}
    assert note.isprintable()
    assert len(note) < 400
    for rows in ([{name: 3, "a": 4}], [{name: MESSAGES, "a": MESSAGES}]):
        with pytest.raises(DataError) as raised:
            reading_of(rows)
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 600
    with pytest.raises(DataError) as raised:
        reading_of([{name: 3, "a": 4}], {"text": "b"})
    assert str(raised.value).isprintable()


def test_a_hostile_cell_is_read_as_it_is() -> None:
    for text in HOSTILE[:-1]:
        said = [{"from": "human", "value": text}, {"from": "gpt", "value": text * 2}]
        [example] = examples_of([{"conversations": said}])
        assert [m["content"] for m in example.messages] == [text, text * 2]  # type: ignore[union-attr]
        told = f"\n\nHuman: {text}\n\nAssistant: {text}"
        [example] = examples_of([{"text": told}])
        assert [m["content"] for m in example.messages] == [text, text]  # type: ignore[union-attr]
