"""Raw text in blocks: nothing lost, nothing padded."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from signals import texts
from test_data_tokenizers import byte_tokenizer

from nbpeft.data import Rows, read
from nbpeft.data.tokens import encode
from nbpeft.errors import DataError


def rows_of(rows: Any, **options: Any) -> Rows:
    options = {"max_length": 16, "eval": 0} | options
    return texts(read(rows, {}), byte_tokenizer(), **options)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_every_token_is_in_one_block_and_trained(monkeypatch: Any, at_once: int) -> None:
    monkeypatch.setattr(encode, "AT_ONCE", at_once)
    lines = [f"line {i} " + "x" * (i * 7 % 40) for i in range(20)]
    rows = rows_of(lines)
    blocks = rows.train["input_ids"][:]
    assert {len(block) for block in blocks[:-1]} == {16}
    joined = byte_tokenizer().decode(list(chain(*blocks)))
    assert joined == "".join(f"{line}</s>" for line in lines)
    for row in rows.train:
        assert row["labels"] == [-100, *row["input_ids"][1:]]
    assert rows.tokens == len(list(chain(*blocks)))
    assert rows.trained_tokens == rows.tokens - len(blocks)


def test_held_out_texts_share_no_block_with_the_others() -> None:
    rows = rows_of([c * 10 for c in "abcdefghijkl"], eval=2, max_length=64)
    assert rows.held_out is not None
    train, held_out = (
        set(byte_tokenizer().decode(list(chain(*part["input_ids"][:])))) - set("</s>")
        for part in (rows.train, rows.held_out)
    )
    assert len(held_out) == 2
    assert train.isdisjoint(held_out)


def test_a_column_of_any_name_holds_text() -> None:
    assert (
        rows_of([{"lyrics": "one two three", "id": 3}])
        .notes[0]
        .startswith("rows are read as text (text from lyrics)")
    )


def test_chats_are_no_raw_text() -> None:
    with pytest.raises(DataError, match="Wanted is one of text"):
        rows_of([{"messages": [{"role": "user", "content": "a b"}]}])
