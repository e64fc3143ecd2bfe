"""The lines of Python in the notes: pasted, they do what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from test_data_detect import HH, MESSAGES, SHAREGPT
from test_data_tokenizers import CHATML, byte_tokenizer

from nbpeft.data import Rows, read, tokenize

KINDS = {
    "list": list,
    "frame": pd.DataFrame,
    "dataset": datasets.Dataset.from_list,
    "columns": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
    "splits": lambda rows: datasets.DatasetDict(
        train=datasets.Dataset.from_list(rows), extra=datasets.Dataset.from_list(rows)
    ),
}
"""What rows may be held in."""


def rows_of(given: Any, template: str | None = CHATML, **options: Any) -> Rows:
    name, namespace = options.pop("name", "given"), {"given": given}
    if isinstance(given, str):
        name = given
    source = read(name, namespace)
    return tokenize(source, byte_tokenizer(template), max_length=512, **options)


def line_of(rows: Rows, words: str) -> str | None:
    found = [note.partition(words)[2] for note in rows.notes if words in note]
    assert len(found) <= 1
    assert not any("\n" in line for line in found)
    return found[0] if found else None


def pasted(line: str, **namespace: Any) -> dict[str, Any]:
    namespace = dict(namespace)
    exec(line, namespace)  # noqa: S102 - what the user is told to paste
    return namespace


def numbered(number: int, value: Any) -> Any:
    """The value with a number in its first question, so that rows differ."""
    return json.loads(json.dumps(value).replace("a b", f"a b {number}"))


ODD: dict[str, dict[str, Any]] = {
    "renamed": {"question": "a b", "answer": "c"},
    "half renamed": {"prompt": "a b", "reply": "c", "n": 1},
    "text": {'it\'s "text"\n': "a b"},
    "sharegpt": {"id": 1, "conversations": SHAREGPT},
    "sharegpt under our name": {"messages": SHAREGPT},
    "messages": {"dialog": MESSAGES},
    "transcript": {"text": HH},
    "json": {"messages": json.dumps(MESSAGES)},
    "json of sharegpt": {"talk": json.dumps(SHAREGPT)},
    "python": {"conversations": str(SHAREGPT)},
    "alpaca": {"instruction": "a b", "input": "d", "output": "c", "text": 3},
    "alpaca without input": {"instruction": "a b", "output": "c"},
    "beside another": {"prompt": 3, "question": "a b", "answer": "c", "text": "d e"},
}
GIVEN = {
    "text": {"text": 'it\'s "text"\n'},
    "alpaca": {"output": "output"},
    "beside another": {"prompt": "question", "completion": "answer"},
}
"""The --columns for those."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("template", [CHATML, None])
def test_the_line_gives_the_same_rows_in_our_own_columns(
    odd: str, kind: str, template: str | None
) -> None:
    columns = GIVEN.get(odd)
    first = KINDS[kind]([numbered(i, ODD[odd]) for i in range(12)])
    read_as_found = rows_of(first, template, columns=columns)
    line = line_of(read_as_found, "the same in Python: ")
    assert line is not None
    after = pasted(line, given=first)["given"]
    again = rows_of(after, template)
    assert again.fingerprint == read_as_found.fingerprint
    assert again.train.to_list() == read_as_found.train.to_list()
    assert line_of(again, "the same in Python: ") is None


def test_there_is_no_line_where_nothing_is_to_be_done() -> None:
    for row in ({"messages": MESSAGES}, {"text": "a b"}, {"prompt": "a", "completion": "b"}):
        assert line_of(rows_of([row] * 3), "the same in Python: ") is None


FILES = {
    "rows.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "rows.json": lambda frame, path: frame.to_json(path, orient="records"),
    "rows.csv": lambda frame, path: frame.to_csv(path, index=False),
    "rows.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "rows.parquet": lambda frame, path: frame.to_parquet(path),
    "it's saved": lambda frame, path: datasets.Dataset.from_pandas(frame).save_to_disk(str(path)),
}


@pytest.mark.parametrize("name", FILES)
def test_the_line_reads_a_file_as_nbpeft_does(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    frame = pd.DataFrame({"question": ["a\nb", "2024-01-01", "NA"], "answer": ["1", "c,d", "é"]})
    FILES[name](frame, path)
    first = rows_of(str(path))
    line = line_of(first, "the same in Python: ")
    assert line is not None
    after = pasted(line)["rows"]
    assert rows_of(after).fingerprint == first.fingerprint


def test_the_tiny_data_sets_are_reached_by_a_line() -> None:
    first = rows_of("tiny:sentiment", columns={"prompt": "text", "completion": "label"})
    line = line_of(first, "the same in Python: ")
    assert line is not None
    assert rows_of(pasted(line)["rows"]).fingerprint == first.fingerprint


def test_columns_of_one_file_or_of_lines_have_no_short_line(tmp_path: Path) -> None:
    for name, text in (
        ("columns.json", json.dumps({"question": ["a"], "answer": ["b"]})),
        ("lines.json", '{"question": "a", "answer": "b"}\n{"question": "c", "answer": "d"}'),
    ):
        (tmp_path / name).write_text(text)
        assert line_of(rows_of(str(tmp_path / name)), "the same in Python: ") is None


# --- copies


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("odd", ["renamed", "sharegpt", "transcript", "alpaca without input"])
def test_the_line_keeps_one_of_each(odd: str, kind: str) -> None:
    numbers = [0, 1, 2, 1, 1, 3, 0]
    given = KINDS[kind]([numbered(i, ODD[odd]) | {"place": p} for p, i in enumerate(numbers)])
    first = rows_of(given)
    assert "copies of another among the 7 rows to train on: 3" in "\n".join(first.notes)
    line = line_of(first, "to keep one of each: ")
    assert line is not None
    again = rows_of(pasted(line, given=given)["given"])
    assert len(again.train) == 4
    assert line_of(again, "to keep one of each: ") is None


def test_the_line_keeps_one_of_each_string() -> None:
    given = ["a", "b", "a"]
    line = line_of(rows_of(given), "to keep one of each: ")
    assert line is not None
    assert pasted(line, given=given)["given"] == ["a", "b"]


@pytest.mark.parametrize("kind", ["list", "frame", "dataset"])
@pytest.mark.parametrize("held", ["list", "frame", "dataset"])
def test_the_line_takes_held_out_rows_from_those_to_train_on(kind: str, held: str) -> None:
    given = KINDS[kind]([numbered(i, ODD["renamed"]) for i in range(20)])
    other = [numbered(i, {"prompt": "a b", "completion": "c"}) for i in (3, 5, 5, 90)]
    namespace = {"given": given, "other": KINDS[held](other)}
    options = {"max_length": 512, "eval": read("other", namespace)}
    first = tokenize(read("given", namespace), byte_tokenizer(CHATML), **options)
    assert "warning: 3 of the 4 held-out rows are trained on, too" in "\n".join(first.notes)
    line = line_of(first, "to take them out: ")
    assert line is not None
    namespace = pasted(line, **namespace)
    again = tokenize(read("given", namespace), byte_tokenizer(CHATML), **options)
    assert len(again.train) == 18
    assert not any("warning" in note for note in again.notes)


def test_the_line_names_the_splits() -> None:
    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"]})
    given = datasets.DatasetDict(train=rows, test=rows.select([1]))
    line = line_of(rows_of(given), "to take them out: ")
    assert line is not None
    after = pasted(line, given=given)["given"]
    assert after["train"]["text"][:] == ["a", "c"]
    assert after["test"]["text"][:] == ["b"]


def test_two_files_keep_their_names_apart(tmp_path: Path) -> None:
    for name, numbers in (("train", range(12)), ("test", (3, 40))):
        lines = [json.dumps(numbered(i, ODD["renamed"])) for i in numbers]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    held_out = read(str(tmp_path / "test.jsonl"), {})
    first = rows_of(str(tmp_path / "train.jsonl"), eval=held_out)
    line = line_of(first, "to take them out: ")
    assert line is not None
    after = pasted(line)
    assert (len(after["rows"]), len(after["held_out"])) == (11, 2)


def test_rows_written_otherwise_are_counted_without_a_line() -> None:
    rows = rows_of([{"messages": MESSAGES}] * 2, eval=read([{"conversations": SHAREGPT}], {}))
    [warning] = [note for note in rows.notes if note.startswith("warning")]
    assert re.fullmatch(r"warning: 1 of the 1 held-out rows .* better than it is", warning)
