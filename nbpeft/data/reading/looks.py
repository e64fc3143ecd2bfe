"""What stands in the columns of a data set, as far as its first rows tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.spellings import Spelling, spelling_of
from nbpeft.data.reading.values import Column

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

LOOKED_AT = 20
"""Rows whose cells are looked at."""
VALUES_LOOKED_AT = 200
"""Rows whose thumbs, marks and labels are looked at."""
MOST_CLASSES = 50
"""Labels that a column may have and still be taken for one of labels by its look."""
NO_TEXT = re.compile(r"|unnamed: \d+|.*index.*|idx|(.*[ _-])?(uu)?id|url|path|hash|date|time.*")
"""Names of columns that are never taken for text by their look, in lower case; a CSV that pandas
wrote has its index under no name."""


@dataclass(frozen=True)
class Look:
    """What stands in a column, as far as its first rows tell."""

    chat: Spelling | None = None
    prose: bool = False
    unknown: bool = False
    """Nothing stands in the rows looked at."""
    column: Column = field(default_factory=Column)
    """Of scalars, what stands there."""

    @property
    def is_class(self) -> bool:
        """Whether the values say of what kind a row is: few of them, each more than once."""
        different = len(set(map(str, self.column.values)))
        return not self.prose and 1 < different <= min(MOST_CLASSES, len(self.column.values) // 2)


def looks_of(dataset: Dataset, *, valued: bool) -> dict[str, Look]:
    """How each column looks; those that hold nothing of use are not even read.

    Args:
        valued: whether values are of use, too, not strings and chats alone.
    """
    schema: pa.Schema = dataset.data.schema
    kinds = {name: schema.field(name).type for name in dataset.column_names}
    legible = [name for name, kind in kinds.items() if _legible(kind)]
    scalar = [name for name, kind in kinds.items() if valued and _scalar(kind)]
    plain = dataset.with_format(None)
    cells: Mapping[str, list[Any]] = {}
    if legible:
        cells = plain.select_columns(legible)[:LOOKED_AT]
    values: Mapping[str, list[Any]] = {}
    if scalar:
        values = plain.select_columns(scalar)[:VALUES_LOOKED_AT]
    looks = {}
    for name in dataset.column_names:
        look = _look(name, cells[name]) if name in cells else Look()
        if name in values:
            look = replace(look, column=_column(values[name], dataset.features[name]))
        looks[name] = look
    return looks


def _scalar(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or isinstance(kind, pa.BaseExtensionType)
    )


def _column(cells: Sequence[Any], feature: Any) -> Column:
    import datasets

    names = feature.names if isinstance(feature, datasets.ClassLabel) else ()
    return Column([cell for cell in cells if cell is not None], names)


def _legible(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = kind.value_type
        return pa.types.is_struct(item) and bool({"role", "from"} & {f.name for f in item})
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
        or isinstance(kind, pa.BaseExtensionType)  # JSON, where cells are of several types
    )


def _look(name: str, cells: Sequence[Any]) -> Look:
    given = [cell for cell in cells if cell is not None]
    if not given:
        return Look(unknown=True)
    chat = spelling_of(given)
    if chat is not None:
        return Look(chat=chat)
    prose = 2 * sum(_is_prose(cell) for cell in given) > len(given)
    return Look(prose=prose and not NO_TEXT.fullmatch(name.lower()))


def _is_prose(cell: object) -> bool:
    """Words rather than a label, a number or a date; not all scripts part them by spaces."""
    if not isinstance(cell, str):
        return False
    words = len(cell.split()) > 1 or not cell.isascii()
    return words and any(character.isalpha() for character in cell)
