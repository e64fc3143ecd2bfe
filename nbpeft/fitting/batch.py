"""The rows that a run's largest batch is made of: the longest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


def longest(rows: Dataset, count: int, *, length: int | None = None) -> list[dict[str, Any]]:
    """The `count` longest rows, the longest first; repeated where there are fewer.

    All texts of a row together make it long. Of an encoder-decoder's rows, whose two texts are
    padded apart, the longest prompts with the longest answers: any batch may bring them together.

    Args:
        length: tokens that each text is cut to.
    """
    sides = {name: lengths(rows, name) for name in texts_of(rows)}
    whole = sum(sides.values()).argsort(kind="stable")[::-1][:count]  # type: ignore[union-attr]
    orders = dict.fromkeys(rows.column_names, whole)
    if "labels" in sides and (sides["input_ids"] != sides["labels"]).any():
        orders |= {name: (-own).argsort(kind="stable")[:count] for name, own in sides.items()}
    values = {name: [rows[int(i)][name] for i in order] for name, order in orders.items()}
    return [
        {
            name: _cut(values[name][i % len(values[name])], length if name in sides else None)
            for name in values
        }
        for i in range(count)
    ]


def texts_of(rows: Dataset) -> list[str]:
    """The columns that hold token ids, or a label for each."""
    from datasets import List, Value

    return [
        name
        for name, kind in rows.features.items()
        if isinstance(kind, List) and isinstance(kind.feature, Value)
    ]


def _cut(value: Any, length: int | None) -> Any:
    return value if length is None else value[:length]


def lengths(rows: Dataset, name: str = "input_ids") -> np.ndarray[Any, Any]:
    """Tokens of every row; a part of the rows at a time, however many there are."""
    import numpy as np
    import pyarrow.compute as arrow

    column = rows.select_columns(name).with_format("arrow")
    parts = [arrow.list_value_length(part[name]) for part in column.iter(PART)]  # type: ignore[attr-defined]
    return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])


PART = 10_000
"""Rows that are read at once."""
