"""How rows are read and checked, which are held out, and what is left behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from test_data_tokenizers import CHATML, byte_tokenizer, trained

from nbpeft.data import Rows, Source, read, tokenize
from nbpeft.data.finding import arrow
from nbpeft.data.tokens import encode
from nbpeft.errors import DataError

CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
GOOD = {"prompt": "a", "completion": "b"}


def rows_of(rows: Any, **options: Any) -> Rows:
    return tokenize(read(rows, {}), byte_tokenizer(CHATML), max_length=512, **options)


# --- formats


def test_columns_are_renamed_and_the_unused_named() -> None:
    rows = rows_of(
        [{"question": "a", "answer": "b", "id": 1}] * 2,
        columns={"prompt": "question", "completion": "answer"},
    )
    assert rows.notes[0] == (
        "rows are read as prompt_completion (prompt from question, completion from answer); "
        "columns not used: id"
    )


def test_two_readings_are_never_chosen_between_silently() -> None:
    both = [{"text": "a", "messages": CHAT}]
    with pytest.raises(
        DataError,
        match=r"as messages or as text .*--columns messages=messages or --columns text=text\.",
    ):
        rows_of(both)
    rows = rows_of(both, columns={"text": "text"})
    assert rows.rendering.kind == "text"


def test_an_objective_s_formats_are_the_only_ones() -> None:
    with pytest.raises(DataError, match=r"Wanted is one of messages: .*\. Say"):
        rows_of(["a"], formats=("messages",))


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"q": "a", "r": "b"}, None, r"columns q, r, .* --columns prompt=q,completion=r\.$"),
        ({"prompt": "a", "r": "b"}, None, r"--columns completion=r\.$"),
        ({"n": 3}, None, r"--columns text=n\.$|--columns messages=n\.$"),
        (GOOD, {"promt": "prompt"}, r"'promt' is no column .* Did you mean prompt\?"),
        (GOOD, {"prompt": "promt"}, r"no column 'promt' .* Did you mean prompt\?"),
    ],
)
def test_columns_that_fit_no_format(row: Any, columns: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of([row], columns=columns)


# --- checks


def chat(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


USER, ASSISTANT = CHAT


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"prompt": "a", "completion": None}, r"column 'completion': it is missing"),
        ({"prompt": "a"}, r"column 'completion': it is missing"),
        ({"prompt": " \n", "completion": "b"}, r"column 'prompt': it is empty"),
        ({"prompt": "a", "completion": 3}, r"column 'completion': it is of type int, '3'"),
        ({"prompt": "a", "completion": float("nan")}, r"column 'completion': it is missing"),
        ({"prompt": "a", "completion": CHAT}, r"both strings or both chats"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"^Row 17 of '40 inline rows'.*{message}"):
        rows_of([GOOD] * 17 + [bad] + [GOOD] * 22)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"messages": None}, "it is missing"),
        ({"messages": []}, "the chat is empty"),
        ({"messages": "a"}, "it is a string, 'a'"),
        (chat(USER), "no message has the role assistant"),
        (chat(ASSISTANT), "nobody asks before"),
        (chat(USER, {"role": "assistant"}), r"message 1 \(role assistant\) has no content"),
        (chat({"content": "a"}, ASSISTANT), "message 0 has no role"),
        (chat(USER, {"role": "assistant", "content": 3}), r"message 1 .* content of type int"),
        (chat(USER, {"role": "assistant", "content": " "}), r"message 1 .* empty content"),
        (chat("a", ASSISTANT), "message 0 is of type str, 'a'"),
    ],
)
def test_a_bad_chat_is_named_by_row_and_message(bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"^Row 17 of .*, column 'messages': {message}"):
        rows_of([{"messages": CHAT}] * 17 + [bad] + [{"messages": CHAT}] * 22)


def test_rows_are_numbered_by_place_whatever_the_frame_s_index() -> None:
    frame = pd.DataFrame({"text": ["a", "b", None]}, index=[7, 8, 9])
    with pytest.raises(DataError, match=r"^Row 2 of 'frame', column 'text'"):
        tokenize(read("frame", {"frame": frame}), byte_tokenizer(), max_length=8)


def test_a_shuffled_data_set_is_checked_in_its_own_order() -> None:
    dataset = datasets.Dataset.from_list([{"text": ""}, {"text": "b"}]).select([1, 0])
    with pytest.raises(DataError, match=r"^Row 1 of '"):
        rows_of(dataset)


def test_a_bad_column_that_nobody_trains_on_does_no_harm() -> None:
    rows = rows_of([{"text": "a", "id": 1}, {"text": "b", "id": "two"}])
    assert len(rows.train) == 2


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="has no rows"):
        rows_of([])


# --- held-out rows


def texts(count: int) -> list[str]:
    return [f"row {number}" for number in range(count)]


def held_out_texts(rows: Rows) -> list[str]:
    assert rows.held_out is not None
    tokenizer = byte_tokenizer()
    return [tokenizer.decode(row["input_ids"], skip_special_tokens=True) for row in rows.held_out]


@pytest.mark.parametrize(
    ("rows", "eval", "held_out"),
    [
        (9, None, 0),
        (10, None, 1),
        (100, None, 10),
        (3000, None, 200),
        (3000, 0.1, 300),
        (40, 7, 7),
        (40, 0, 0),
        (40, 0.0, 0),
        (40, 0.001, 1),
        (40, 39, 39),
    ],
)
def test_how_many_are_held_out(rows: int, eval: Any, held_out: int) -> None:
    made = rows_of(texts(rows), eval=eval)
    assert len(made.train) == rows - held_out
    assert (len(made.held_out) if made.held_out else 0) == held_out
    assert any("no rows are held out" in note for note in made.notes) == (held_out == 0)


def test_the_same_rows_are_held_out_every_time_and_not_trained() -> None:
    first, second = rows_of(texts(50)), rows_of(texts(50))
    assert held_out_texts(first) == held_out_texts(second)
    tokenizer = byte_tokenizer()
    train = {tokenizer.decode(r["input_ids"], skip_special_tokens=True) for r in first.train}
    assert train.isdisjoint(held_out_texts(first))
    assert len(train) == 45
    assert first.sample_prompts == ("row",) * 3


@pytest.mark.parametrize("eval", [40, 41, 0.99])
def test_holding_out_everything_is_refused(eval: Any) -> None:
    with pytest.raises(DataError, match="leaves none to train on"):
        rows_of(texts(40), eval=eval)


@pytest.mark.parametrize("eval", [-1, 1.0, 1.5, True])
def test_what_is_no_share_and_no_count_is_refused(eval: Any) -> None:
    with pytest.raises(DataError, match="neither a share"):
        rows_of(texts(40), eval=eval)


def test_rows_of_their_own_are_held_out_whole() -> None:
    rows = rows_of(texts(30), eval=Source(read(texts(250), {}).dataset, None, "other"))
    assert rows.held_out is not None
    assert (len(rows.train), len(rows.held_out)) == (30, 250)
    with pytest.raises(DataError, match=r"^Row 1 of '2 inline rows'"):
        rows_of(texts(30), eval=read(["a", " "], {}))


def test_rows_to_hold_out_are_read_as_those_to_train_on_where_they_can_be() -> None:
    other = {"a": "c", "text": "d"}
    rows = rows_of([GOOD] * 3, eval=read([GOOD | other], {}))
    assert rows.held_out is not None
    assert trained(byte_tokenizer(), rows.held_out[0]).startswith("b")
    columns = {"prompt": "q", "completion": "r"}
    renamed = rows_of([{"q": "a", "r": "b"}] * 3, columns=columns, eval=read([GOOD], {}))
    assert renamed.held_out is not None
    talk = rows_of([GOOD] * 3, eval=read([chat(*CHAT)], {}))
    assert talk.held_out is not None
    assert talk.held_out[0] == talk.train[0]


def test_a_source_s_own_split_is_used_unless_another_is_asked_for() -> None:
    splits = datasets.DatasetDict(
        train=datasets.Dataset.from_dict({"text": texts(30)}),
        test=datasets.Dataset.from_dict({"text": [f"test {i}" for i in range(300)]}),
    )
    rows = rows_of(splits)
    assert len(rows.train) == 30
    assert len(held_out_texts(rows)) == 200
    assert all(text.startswith("test") for text in held_out_texts(rows))
    assert all(text.startswith("row") for text in held_out_texts(rows_of(splits, eval=3)))


# --- fingerprint, memory, traces


def test_the_fingerprint_is_of_the_rows_and_the_rendering(tmp_path: Path) -> None:
    given = [{"messages": [*CHAT, {"role": "user", "content": "c", "name": "x"}, ASSISTANT]}] * 3
    given += [{"messages": CHAT}] * 3
    first = rows_of(given)
    path = tmp_path / "rows.parquet"
    read(given, {}).dataset.to_parquet(str(path))
    stored = tokenize(read(str(path), {}), byte_tokenizer(CHATML), max_length=99)
    assert stored.fingerprint == first.fingerprint == "2a2832a95e05a30a"
    assert rows_of(given[:-1]).fingerprint != first.fingerprint
    plain = tokenize(read(given, {}), byte_tokenizer(), max_length=512)
    assert plain.fingerprint != first.fingerprint


def test_only_ids_and_labels_are_left() -> None:
    rows = rows_of([{"prompt": "a", "completion": str(i), "id": 1} for i in range(12)])
    assert rows.train.column_names == ["input_ids", "labels"]
    assert rows.held_out is not None
    assert rows.held_out.column_names == ["input_ids", "labels"]


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("nbpeft-rows-*"))


def test_many_rows_are_kept_in_a_file_that_goes_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (arrow, encode):
        monkeypatch.setattr(module, "SMALL", 10)
    before = folders()
    rows = rows_of(texts(2500))
    assert rows.train.cache_files
    assert len(folders() - before) == 2
    assert trained(byte_tokenizer(), rows.train[2290]).startswith("ow 24")
    del rows
    gc.collect()
    assert folders() == before
    with pytest.raises(DataError):
        tokenize(read([{"messages": CHAT}], {}), byte_tokenizer("{{ 1 + 'a' }}"), max_length=9)
    assert folders() == before


def test_nothing_is_printed_cached_or_left_switched(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "mine"
    datasets.Dataset.from_dict({"text": texts(40)}).save_to_disk(str(path))
    capfd.readouterr()
    shown = datasets.are_progress_bars_disabled()
    try:
        datasets.enable_progress_bars()
        before = sorted(path.rglob("*"))
        tokenize(read(str(path), {}), byte_tokenizer(), max_length=8)
        assert not datasets.are_progress_bars_disabled()
    finally:
        if shown:
            datasets.disable_progress_bars()
    assert sorted(path.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


def test_a_data_set_that_gives_tensors_is_read_as_rows_all_the_same() -> None:
    dataset = datasets.Dataset.from_list([{"text": "a", "n": 1}] * 2).with_format("numpy")
    assert len(rows_of(dataset).train) == 2
    assert dataset.format["type"] == "numpy"


def test_importing_the_package_is_light() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'pandas', 'pyarrow'}"
    code = f"import sys, nbpeft.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
