"""The rows that a run's largest batch is made of: the longest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


def longest(rows: Dataset, count: int, *, length: int | None = None) -> list[dict[str, Any]]:
    """The `count` longest rows, the longest first; repeated where there are fewer.

    Of rows with several texts (two answers to a prompt), by all of them together. Of an
    encoder-decoder's rows, whose two texts are padded apart, the longest prompts with the
    longest answers: any batch may bring them together.

    Args:
        length: tokens that rows are cut to.
    """
    import numpy as np

    texts = [name for name in rows.column_names if name.endswith("input_ids")]
    if _apart(rows):
        return _longest_of_two(rows, count, length)
    total = np.sum([lengths(rows, name) for name in texts], axis=0)
    order = (-total).argsort(kind="stable")[:count]
    return [_cut(rows[int(order[i % len(order)])], length) for i in range(count)]


def _apart(rows: Dataset) -> bool:
    """Whether a row's labels are a text of their own, as an encoder-decoder's are."""
    if "labels" not in rows.column_names:
        return False
    return bool((lengths(rows, "input_ids") != lengths(rows, "labels")).any())


def _cut(row: dict[str, Any], length: int | None) -> dict[str, Any]:
    cut = {k: v[:length] if isinstance(v, list) else v for k, v in row.items()}
    if length is not None and "shared" in cut:  # what both texts begin with
        cut["shared"] = min(cut["shared"], length - 1)
    return cut


def _longest_of_two(rows: Dataset, count: int, length: int | None) -> list[dict[str, Any]]:
    """Of rows whose two texts are padded apart."""
    sides = {name: lengths(rows, name) for name in ("input_ids", "labels")}
    orders = {name: (-own).argsort(kind="stable")[:count] for name, own in sides.items()}
    found = {name: _texts(rows, name, order) for name, order in orders.items()}
    return [
        {name: found[name][i % len(found[name])][:length] for name in found} for i in range(count)
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
