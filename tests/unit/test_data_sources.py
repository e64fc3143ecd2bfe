"""Where rows are found: variables, files, the tiny data sets, the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from nbpeft.data import read
from nbpeft.data.finding import files, hub
from nbpeft.errors import DataError

ROWS = [{"prompt": "a", "completion": "1"}, {"prompt": "b", "completion": "NA"}]


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        tuple(ROWS),
        {"prompt": ["a", "b"], "completion": ("1", "NA")},
        pd.DataFrame(ROWS, index=["x", "y"]),
        pd.DataFrame(ROWS).astype("category"),
        datasets.Dataset.from_list(ROWS),
        datasets.DatasetDict(only=datasets.Dataset.from_list(ROWS)),
    ],
)
def test_a_variable_or_the_rows_themselves(value: Any) -> None:
    named = read("rows", {"rows": value})
    assert named.dataset.to_list() == ROWS
    assert named.label == "rows"
    assert read(value, {}).dataset.to_list() == ROWS


def test_a_list_of_strings_is_text() -> None:
    source = read(["a", "b"], {})
    assert source.dataset.to_list() == [{"text": "a"}, {"text": "b"}]
    assert source.label == "2 inline rows"


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", ["dataset", "series", "unnamed"])
def test_a_column_is_its_texts_or_a_table_of_itself(kind: str) -> None:
    chats = [[{"role": "user", "content": text}] for text in ("a", "b")]
    table = datasets.Dataset.from_dict({"question": ["a", "b"], "prompt": chats})

    def column(name: str) -> Any:
        if kind == "dataset":
            return table[name]
        return pd.Series(list(table[name]), name=None if kind == "unnamed" else name)

    texts = read("asked", {"asked": column("question")})
    assert (texts.label, texts.dataset["text"][:]) == ("asked", ["a", "b"])
    assert read(column("prompt"), {}).dataset["prompt"][:] == chats


def test_every_ending_gives_the_same_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS)
    frame.to_parquet(tmp_path / "rows.parquet")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_csv(tmp_path / "rows.tsv", index=False, sep="\t")
    lines = "\n\n".join(json.dumps(row) for row in ROWS)
    write(tmp_path / "rows.jsonl", "\ufeff" + lines)
    write(tmp_path / "lines.json", lines)
    write(tmp_path / "list.json", json.dumps(ROWS))
    write(tmp_path / "columns.json", json.dumps(frame.to_dict("list")))
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    paths = [path for path in tmp_path.iterdir() if path.name != "work"]  # conftest's
    assert {path.suffix for path in paths} == {*files.READERS, ""} - {".txt"}
    for path in paths:
        assert read(str(path), {}).dataset.to_list() == ROWS, path
        assert read("where", {"where": str(path)}).dataset.to_list() == ROWS


def test_a_csv_has_strings_only_and_may_break_lines_in_a_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", 'text,n\n"a\nb",1\n2024-01-01,\n')
    assert read(path, {}).dataset.to_list() == [
        {"text": "a\nb", "n": "1"},
        {"text": "2024-01-01", "n": ""},
    ]


def test_json_lines_keep_texts_that_look_like_dates(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", '{"text": "2024-01-01"}\n')
    assert read(path, {}).dataset[0] == {"text": "2024-01-01"}


def test_keys_and_types_may_differ_from_piece_to_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROWS_AT_ONCE", 1)
    rows = [{"text": "a"}, {"text": 3}, {"other": [1]}, {"text": None}]
    text = "\n".join(map(json.dumps, rows))
    for small in (0, 10**9):
        monkeypatch.setattr(files, "SMALL", small)
        dataset = read(write(tmp_path / "rows.jsonl", text), {}).dataset
        assert dataset["text"][:] == ["a", 3, None, None]
        assert dataset["other"][:] == [None, None, [1], None]


def test_a_text_file_is_paragraphs_or_lines(tmp_path: Path) -> None:
    paragraphs = read(write(tmp_path / "a.txt", "\n\none\ntwo\n \n\nthree\n\n"), {})
    assert paragraphs.dataset["text"][:] == ["one\ntwo", "three"]
    assert "every paragraph is a row" in paragraphs.notes[0]
    lines = read(write(tmp_path / "b.txt", "one\ntwo\n\n"), {})
    assert lines.dataset["text"][:] == ["one", "two"]
    assert "every line is a row" in lines.notes[0]


def test_a_variable_comes_before_a_file_and_a_file_before_the_tiny_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.txt").write_text("file")
    Path("tiny:pirate").mkdir()
    assert read("rows.txt", {"rows.txt": ["variable"]}).dataset[0] == {"text": "variable"}
    assert read("rows.txt", {}).dataset[0] == {"text": "file"}
    with pytest.raises(DataError, match="The folder 'tiny:pirate'"):
        read("tiny:pirate", {})


def test_the_tiny_data_sets() -> None:
    source = read("tiny:pirate", {})
    assert "messages" in source.dataset.column_names
    assert source.label == "tiny:pirate"
    with pytest.raises(DataError, match="Did you mean pirate"):
        read("tiny:pirat", {})


def test_splits_of_their_own() -> None:
    data = datasets.Dataset.from_list(ROWS)
    source = read("d", {"d": datasets.DatasetDict(train=data, test=data, dev=data.select([0]))})
    assert source.held_out is not None
    assert len(source.held_out) == 1
    assert "its split dev" in source.notes[-1]
    with pytest.raises(DataError, match=r"splits a, b .*rows = d\['a'\]"):
        read("d", {"d": datasets.DatasetDict(a=data, b=data)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "chat",
            r"no variable or file 'chat'\. Did you mean chats\? .*: chats, frame, mixed, uneven; ",
        ),
        ("rows.jsonl", "There is no file or folder 'rows.jsonl'"),
        ("owner/name", "For the hub type hub:owner/name"),
        ("number", "The variable 'number' is of type int"),
        ("word", "The variable 'word' is a string, 'no such', and no such path exists"),
        ("numbers", "'numbers' can't be read as rows: row 0 is of type int"),
        ("mixed", "row 0 is of type str; every row must be a dict"),
        ("stream", r"IterableDataset.*rows = list\(stream.take\(1000\)\)"),
        ("uneven", "'uneven' can't be read as rows"),
        ("hub:name", "names no data set on the hub"),
    ],
)
def test_what_can_t_be_read(given: str, message: str) -> None:
    namespace = {
        "chats": ROWS,
        "frame": pd.DataFrame(ROWS),
        "_hidden": ROWS,
        "number": 3,
        "word": "no such",
        "numbers": [1, 2],
        "mixed": ["a", {"text": "b"}],
        "stream": datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
        "uneven": {"prompt": ["a"], "completion": ["b", "c"]},
    }
    with pytest.raises(DataError, match=message) as raised:
        read(given, namespace)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"text": "a"}\n\nnope\n', r"as jsonl: row 1 \(line 3\) is not JSON"),
        ("a.jsonl", '"a"\n', r"row 0 \(line 1\) is of type str"),
        ("a.json", "[1]", "row 0 is of type int"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", "as csv: .*Expected 2 columns, got 3"),
        ("a.parquet", "nope", "as parquet"),
        ("a.csv", "", "as csv"),
        ("a.xlsx", "", r"endings known are .jsonl, .json, .csv, .tsv, .parquet, .txt;"),
    ],
)
def test_a_file_that_isn_t_what_its_ending_says(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as raised:
        read(write(tmp_path / name, text), {})
    assert "\n" not in str(raised.value)


def test_a_nearly_right_path_is_suggested(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", "")
    with pytest.raises(DataError, match=r"Did you mean rows\.jsonl\?"):
        read(str(tmp_path / "row.jsonl"), {})


def test_the_hub_is_asked_for_the_split_and_its_failures_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def load_dataset(name: str, split: str | None) -> datasets.Dataset:
        asked.append((name, split))
        if split == "broken":
            raise ValueError("Config name is missing.\nPlease pick one")
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: None)
    assert read("hub:owner/name:train", {}).dataset.to_list() == ROWS
    read("hub:owner/name", {})
    assert asked == [("owner/name", "train"), ("owner/name", None)]
    with pytest.raises(DataError, match=r"Config name is missing\.'; load it yourself") as raised:
        read("hub:owner/name:broken", {})
    assert "\n" not in str(raised.value)


def test_offline_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(self: Any, name: str, timeout: float) -> None:
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(DataError, match=r"\(ConnectionError\); you seem to be offline"):
        hub.read_hub("owner/name")
