"""The rows that a run's largest batch is made of: the longest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


def longest(rows: Dataset, count: int, *, length: int | None = None) -> list[dict[str, list[int]]]:
    """The `count` longest rows, the longest first; repeated where there are fewer.

    Of an encoder-decoder's rows, whose two texts are padded apart, the longest prompts with the
    longest answers: any batch may bring them together.

    Args:
        length: tokens that rows are cut to.
    """
    sides = {name: lengths(rows, name) for name in ("input_ids", "labels")}
    orders = {name: (-own).argsort(kind="stable")[:count] for name, own in sides.items()}
    if (sides["input_ids"] == sides["labels"]).all():  # a decoder's: one text, and its labels
        orders["labels"] = orders["input_ids"]
    texts = {name: _texts(rows, name, order) for name, order in orders.items()}
    return [
        {name: texts[name][i % len(texts[name])][:length] for name in texts} for i in range(count)
    ]


def lengths(rows: Dataset, name: str = "input_ids") -> np.ndarray[Any, Any]:
    """Tokens of every row; a part of the rows at a time, however many there are."""
    import numpy as np
    import pyarrow.compute as arrow

    column = rows.select_columns(name).with_format("arrow")
    parts = [arrow.list_value_length(part[name]) for part in column.iter(PART)]  # type: ignore[attr-defined]
    return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])


def _texts(rows: Dataset, name: str, order: Any) -> list[list[int]]:
    return [rows[int(index)][name] for index in order]


PART = 10_000
"""Rows that are read at once."""
