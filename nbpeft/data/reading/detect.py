"""The one way to read rows: by the names of their columns, then by what stands in them.

A column's own name counts most, then the other names that it goes by (`Cell.also`), then its look.
What can be read in two ways is never chosen between silently.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.formats import FORMATS
from nbpeft.data.reading.shapes import Cell, Format, Reading, shown
from nbpeft.data.reading.spellings import (
    OPEN_TRANSCRIPT,
    PLAIN,
    TRANSCRIPT,
    Spelling,
    spelling_of,
)
from nbpeft.errors import DataError, did_you_mean, listed, quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

LOOKED_AT = 20
"""Rows whose cells are looked at."""
SHOWN = 5
"""Readings that an error lists."""
NO_TEXT = re.compile(r"|unnamed: \d+|.*index.*|idx|(.*[ _-])?(uu)?id|url|path|hash|date|time.*")
"""Names of columns that are never taken for text by their look, in lower case; a CSV that pandas
wrote has its index under no name."""


@dataclass(frozen=True)
class _Look:
    """What stands in a column, as far as its first rows tell."""

    chat: Spelling | None = None
    prose: bool = False
    unknown: bool = False
    """Nothing stands in the rows looked at."""


def choose(
    dataset: Dataset, formats: Sequence[str], columns: Mapping[str, str] | None, label: str
) -> Reading:
    """The one way to read a data set.

    Args:
        formats: names in FORMATS that the objective can train on.
        columns: the user's own mapping, a format's column name to a column of theirs.
        label: what the user calls the data, for messages.

    Raises:
        DataError: no format fits, or more than one does.
    """
    columns = dict(columns or {})
    found = dataset.column_names
    known = [FORMATS[name] for name in formats]
    _check_mapping(columns, found, known, label)
    looks = _looks(dataset)
    usable = [entry for entry in known if columns.keys() <= entry.columns.keys()]
    by_name = [r for entry in usable for r in _readings(entry, looks, columns, guess=False)]
    fitting = _apart(by_name, looks, columns)
    if not fitting:
        guessed = [r for entry in usable for r in _readings(entry, looks, columns, guess=True)]
        fitting = _apart(guessed, looks, columns)
        prose = [name for name, look in looks.items() if look.prose]
        if len(fitting) > 1 and len(prose) > 1:
            fitting += [
                Reading(entry, dict(zip(entry.columns, pair, strict=True)))
                for entry in usable
                if len(entry.columns) == 2 and not columns
                for pair in permutations(prose, 2)
            ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise _ambiguous(fitting, found, label)
    wanted = "; ".join(f"{entry.name}: {entry.wants}" for entry in known)
    raise DataError(
        f"{quoted(label)} has the columns {_all(found)}, which fit no format. Wanted is one of "
        f"{wanted}. Say which column is which: {_suggestion(found, known, columns)}."
    )


def _looks(dataset: Dataset) -> dict[str, _Look]:
    """How each column looks; those that hold neither strings nor chats are not even read."""
    schema: pa.Schema = dataset.data.schema
    legible = [name for name in dataset.column_names if _legible(schema.field(name).type)]
    cells: Mapping[str, list[Any]] = {}
    if legible:
        cells = dataset.with_format(None).select_columns(legible)[:LOOKED_AT]
    return {
        name: _look(name, cells[name]) if name in cells else _Look()
        for name in dataset.column_names
    }


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


def _look(name: str, cells: Sequence[Any]) -> _Look:
    given = [cell for cell in cells if cell is not None]
    if not given:
        return _Look(unknown=True)
    chat = spelling_of(given)
    if chat is not None:
        return _Look(chat=chat)
    prose = 2 * sum(_is_prose(cell) for cell in given) > len(given)
    return _Look(prose=prose and not NO_TEXT.fullmatch(name.lower()))


def _is_prose(cell: object) -> bool:
    """Words rather than a label, a number or a date; not all scripts part them by spaces."""
    if not isinstance(cell, str):
        return False
    words = len(cell.split()) > 1 or not cell.isascii()
    return words and any(character.isalpha() for character in cell)


def _readings(
    entry: Format, looks: Mapping[str, _Look], given: Mapping[str, str], guess: bool
) -> list[Reading]:
    """Every way to find a format's columns; with `guess`, text by its look, too."""
    choices: list[list[tuple[str, str]]] = []
    for ours, cell in entry.columns.items():
        theirs = [given[ours]] if ours in given else _candidates(ours, cell, looks, guess)
        if theirs:
            choices.append([(ours, name) for name in theirs])
        elif not cell.optional:
            return []
    ways = [dict(way) for way in product(*choices)]
    return [
        Reading(entry, way, _spellings(entry, way, looks))
        for way in ways
        if len(set(way.values())) == len(way) or given
    ]


def _candidates(ours: str, cell: Cell, looks: Mapping[str, _Look], guess: bool) -> list[str]:
    """The columns that may be a format's column `ours`, the best kind of them only."""
    if ours in looks:
        return [ours]
    named = [name for name in looks if _plain(name) in (ours, *cell.also)]
    if cell.by_look and cell.chat:
        chats = [name for name, look in looks.items() if look.chat is not None]
        return chats or [name for name in named if looks[name].unknown]
    if cell.by_look:
        prose = [name for name, look in looks.items() if look.prose or name in named]
        return prose if guess else []
    # where one of several names holds no text, such as a number, it isn't meant
    return [name for name in named if looks[name].prose] or named


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _spellings(
    entry: Format, way: Mapping[str, str], looks: Mapping[str, _Look]
) -> dict[str, Spelling]:
    """How chats are written, in columns where a string isn't taken as it stands."""
    spellings = {
        ours: looks[theirs].chat or PLAIN
        for ours, theirs in way.items()
        if entry.columns[ours].spelled or not entry.columns[ours].string
    }
    return {
        ours: OPEN_TRANSCRIPT
        if spelling is TRANSCRIPT and entry.columns[ours].spelled and not entry.columns[ours].answer
        else spelling
        for ours, spelling in spellings.items()
    }


def _apart(
    readings: list[Reading], looks: Mapping[str, _Look], given: Mapping[str, str]
) -> list[Reading]:
    """Readings without those that are part of another, or take a chat for raw text."""
    used = [set(reading.columns.values()) for reading in readings]
    return [
        reading
        for reading, mine in zip(readings, used, strict=True)
        if not any(mine < other for other in used)
        and not (
            reading.format.name == "text"
            and "text" not in given
            and looks[reading.columns["text"]].chat is not None
        )
    ]


def _ambiguous(fitting: Sequence[Reading], found: Sequence[str], label: str) -> DataError:
    names = dict.fromkeys(reading.format.name for reading in fitting)
    ways = [_typed(reading.columns) for reading in fitting]
    more = f" or … ({len(ways)} in all)" if len(ways) > SHOWN else ""
    return DataError(
        f"{quoted(label)} can be read as {' or as '.join(names)} in {len(ways)} ways "
        f"(columns: {_all(found)}); say which: {' or '.join(ways[:SHOWN])}{more}."
    )


def _check_mapping(
    columns: Mapping[str, str], found: Sequence[str], known: Sequence[Format], label: str
) -> None:
    """Refuse a mapping from an unknown name, or to a column that isn't there."""
    ours = list(dict.fromkeys(name for entry in known for name in entry.columns))
    for wanted, theirs in columns.items():
        if wanted not in ours:
            raise DataError(
                f"columns: {quoted(wanted)} is no column that can be trained on."
                f"{did_you_mean(wanted, ours)} The names are: {listed(ours)}; type "
                f"--columns {ours[0]}={shown(theirs)}."
            )
        if theirs not in found:
            raise DataError(
                f"columns: {quoted(label)} has no column {quoted(theirs)} to be {wanted}."
                f"{did_you_mean(theirs, map(shown, found))} It has: {_all(found)}."
            )


def _all(found: Sequence[str]) -> str:
    return listed(map(shown, found))


def _typed(columns: Mapping[str, str]) -> str:
    """A reading as it is typed, in quotes where the line would part it."""
    typed = ",".join(f"{ours}={shown(theirs)}" for ours, theirs in columns.items())
    return "--columns " + (typed if re.fullmatch(r"[\w,=.-]*", typed) else shlex.quote(typed))


def _suggestion(found: Sequence[str], known: Sequence[Format], given: Mapping[str, str]) -> str:
    """What to type, with the user's own columns in it where there are enough of them."""
    usable = [entry for entry in known if given.keys() <= entry.columns.keys()] or list(known)
    near = max(usable, key=lambda entry: len(set(entry.columns) & set(found)))
    if len(found) > 1 and not set(near.columns) & set(found):
        near = min(usable, key=lambda entry: abs(len(entry.columns) - 2))
    left = [name for name in found if name not in near.columns and name not in given.values()]
    left = [name for name in left if not NO_TEXT.fullmatch(name.lower())] or left
    missing = [
        ours
        for ours, cell in near.columns.items()
        if (ours not in found or ours in given) and not (cell.optional and ours not in given)
    ]
    return _typed(
        {ours: given.get(ours) or (left.pop(0) if left else "COLUMN") for ours in missing}
    )
