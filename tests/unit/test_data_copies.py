"""Rows that stand there twice: counted, and never on both sides of a split."""

from __future__ import annotations

from typing import Any

import datasets
import pytest
from test_data_tokenizers import CHATML, byte_tokenizer

from nbpeft.data import Rows, read, tokenize
from nbpeft.data.reading.examples import Chat, Pair, Text
from nbpeft.data.splitting.copies import key_of
from nbpeft.data.splitting.split import quotas

USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


def rows_of(rows: Any, **options: Any) -> Rows:
    return tokenize(read(rows, {}), byte_tokenizer(CHATML), **{"max_length": 512} | options)


def decoded(dataset: datasets.Dataset | None) -> list[str]:
    tokenizer = byte_tokenizer()
    return [tokenizer.decode(row["input_ids"], skip_special_tokens=True) for row in dataset or ()]


def test_what_the_model_reads_alike_is_a_copy() -> None:
    same = [
        Pair("a", "b"),
        Chat([USER, ASSISTANT]),
        Chat([USER | {"name": None}, ASSISTANT]),
        Chat([USER, ASSISTANT, USER]),
    ]
    assert len({key_of(example) for example in same}) == 1
    others = [
        Pair("ab", ""),
        Pair("", "ab"),
        Text("a"),
        Pair("a", "b "),
        Chat([USER] * 2 + [ASSISTANT]),
    ]
    assert len({key_of(example) for example in [*same, *others]}) == 1 + len(others)


@pytest.mark.parametrize("every", [2, 3, 10])
def test_no_held_out_row_is_trained_on(every: int) -> None:
    rows = rows_of([f"row {i // every}" for i in range(300)], eval=30)
    train, held_out = decoded(rows.train), decoded(rows.held_out)
    assert set(train).isdisjoint(held_out)
    assert len(train) + len(held_out) == 300
    assert len(held_out) == 30
    told = "\n".join(rows.notes)
    assert f"copies of another among the 270 rows to train on: {270 - 270 // every}" in told
    assert "warning" not in told


def test_one_copy_changes_no_more_than_it_must() -> None:
    texts = [f"row {i}" for i in range(100)]
    without = set(decoded(rows_of(texts).held_out))
    with_one = set(decoded(rows_of([*texts[:-1], texts[0]]).held_out))
    assert len(without & with_one) >= 8


def test_fewer_are_held_out_where_copies_leave_no_choice() -> None:
    rows = rows_of(["a"] * 30 + ["b"] * 20, eval=25)
    assert decoded(rows.held_out) == ["b"] * 20
    assert any("20 rows are held out where 25 were wanted" in note for note in rows.notes)
    assert rows_of(["a"] * 30).held_out is None


def test_the_overlap_with_given_rows_is_counted_and_left() -> None:
    rows = rows_of([f"row {i}" for i in range(50)], eval=read(["row 3", "row 3", "new"], {}))
    assert (len(rows.train), len(decoded(rows.held_out))) == (50, 3)
    [warning] = [note for note in rows.notes if note.startswith("warning: ")]
    assert "2 of the 3 held-out rows are trained on, too" in warning


def test_the_overlap_with_a_split_of_its_own_is_counted() -> None:
    train = datasets.Dataset.from_dict({"text": ["a", "b"]})
    splits = datasets.DatasetDict(train=train, test=train.select([1]))
    assert any(note.startswith("warning: 1 of the 1 ") for note in rows_of(splits).notes)


def test_nothing_is_said_of_rows_that_differ() -> None:
    told = "\n".join(rows_of([f"row {i}" for i in range(50)]).notes)
    assert "copies" not in told
    assert "warning" not in told


@pytest.mark.parametrize(
    ("sizes", "count", "shares"),
    [
        ([3, 1], 4, [3, 1]),
        ([1, 1, 1], 2, [1, 1, 0]),
        ([90, 10], 5, [5, 0]),
        ([10, 90], 15, [2, 13]),
        ([7], 3, [3]),
        ([7, 5], 0, [0, 0]),
    ],
)
def test_held_out_rows_are_shared_out_by_size(
    sizes: list[int], count: int, shares: list[int]
) -> None:
    assert sum(quotas(sizes, count)) == count
    assert quotas(sizes, count) == shares
