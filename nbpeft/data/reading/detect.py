"""The one way to read rows: by the names of their columns, then by what stands in them.

A column's own name counts most, then the other names that it goes by (`Cell.also`), then its look.
What can be read in two ways is never chosen between silently.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import permutations, product
from typing import TYPE_CHECKING

from nbpeft.data.reading.formats import FORMATS
from nbpeft.data.reading.looks import NO_TEXT, Look, looks_of
from nbpeft.data.reading.shapes import Cell, Format, Reading, shown
from nbpeft.data.reading.spellings import (
    OPEN_TRANSCRIPT,
    PLAIN,
    TRANSCRIPT,
    Spelling,
)
from nbpeft.data.reading.values import Values
from nbpeft.errors import DataError, did_you_mean, listed, quoted

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 5
"""Readings that an error lists."""


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
    valued = any(cell.values for entry in known for cell in entry.columns.values())
    looks = looks_of(dataset, valued=valued)
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


def _readings(
    entry: Format, looks: Mapping[str, Look], given: Mapping[str, str], guess: bool
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


def _candidates(ours: str, cell: Cell, looks: Mapping[str, Look], guess: bool) -> list[str]:
    """The columns that may be a format's column `ours`, the best kind of them only."""
    if cell.values is not None:
        return _valued(ours, cell, cell.values, looks, guess)
    if ours in looks:
        return [ours]
    named = [name for name in looks if _plain(name) in (ours, *cell.also)]
    if cell.by_look and cell.chat and not cell.string:
        chats = [name for name, look in looks.items() if look.chat is not None]
        return chats or [name for name in named if looks[name].unknown]
    if cell.by_look and cell.chat:
        alike = [name for name, look in looks.items() if look.prose or look.chat is not None]
        return named or (alike if guess else [])
    if cell.by_look:
        prose = [name for name, look in looks.items() if look.prose or name in named]
        return prose if guess else []
    # where one of several names holds no text, such as a number, it isn't meant
    return [name for name in named if looks[name].prose] or named


def _valued(
    ours: str, cell: Cell, kind: Values, looks: Mapping[str, Look], guess: bool
) -> list[str]:
    """The columns of values that may be a format's column `ours`, the best kind of them only."""
    fitting = [name for name, look in looks.items() if kind.fits(look.column)]
    if ours in fitting:
        return [ours]
    named = [name for name in fitting if _plain(name) in cell.also]
    if named or not (guess and cell.by_look):
        return named
    return [name for name in fitting if looks[name].is_class and not NO_TEXT.fullmatch(name)]


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _spellings(
    entry: Format, way: Mapping[str, str], looks: Mapping[str, Look]
) -> dict[str, Spelling]:
    """How cells are written, in columns where they aren't taken as they stand."""
    return {ours: _spelling(entry.columns[ours], looks[theirs]) for ours, theirs in way.items()}


def _spelling(cell: Cell, look: Look) -> Spelling:
    if cell.values is not None:
        return cell.values.spelling(look.column)
    if look.chat is None or (cell.string and not cell.spelled):
        return PLAIN
    asks = cell.spelled and not cell.answer
    return OPEN_TRANSCRIPT if asks and look.chat is TRANSCRIPT else look.chat


def _apart(
    readings: list[Reading], looks: Mapping[str, Look], given: Mapping[str, str]
) -> list[Reading]:
    """Readings without those that are part of another, or take a chat for raw text."""
    readings = [one for one in readings if not any(_meant(other, one) for other in readings)]
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


def _meant(reading: Reading, other: Reading) -> bool:
    """Whether a reading is meant rather than another of the same columns."""
    same = set(reading.columns.values()) <= set(other.columns.values())
    return same and other.format.after == reading.format.name


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
