"""What a trainer gets of a row: tokens and labels, and what else its signal has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.examples import Example, Preference, Rating
from nbpeft.data.tokens.rendering import shared
from nbpeft.data.tokens.row import NOT_TRAINED, Row

if TYPE_CHECKING:
    from datasets import Features


def columns_of(
    example: Example, rows: Sequence[Row], labels: Sequence[list[int | None]]
) -> dict[str, Any]:
    """A row of `Rows.train`, of an example whose texts have tokens to train.

    Args:
        rows: of each text of the example (`texts_of`).
        labels: of each of them.
    """
    read, trained = rows[0].columns(labels[0])
    columns: dict[str, Any] = {"input_ids": read, "labels": trained}
    if isinstance(example, Preference):
        other_read, other_trained = rows[1].columns(labels[1])
        unlabelled = min(_first_label(trained), _first_label(other_trained))
        return columns | {
            "rejected_input_ids": other_read,
            "rejected_labels": other_trained,
            "shared": min(shared(read, other_read), unlabelled),
        }
    if isinstance(example, Rating):
        return columns | {"good": example.good}
    return columns


def features_of(example: Example) -> Features:
    """The types of these columns."""
    from datasets import Features, List, Value

    names = ["input_ids", "labels"]
    others = {}
    if isinstance(example, Preference):
        names += ["rejected_input_ids", "rejected_labels"]
        others = {"shared": Value("int32")}
    elif isinstance(example, Rating):
        others = {"good": Value("bool")}
    return Features({name: List(Value("int32")) for name in names} | others)


def _first_label(labels: Sequence[int]) -> int:
    return next((i for i, label in enumerate(labels) if label != NOT_TRAINED), len(labels))


def as_lists(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    """Rows as columns."""
    return {name: [row[name] for row in rows] for name in names}
