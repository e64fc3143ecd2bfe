"""The line of Python that does to the user's own rows what nbpeft does, or would have them do.

Every line is plain Python over a list of dicts, a DataFrame or a `datasets.Dataset`, and binds the
name it began with: what `--data NAME` then reads is the same rows in the format's own columns, or
fewer rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nbpeft.data.reading.shapes import Reading
from nbpeft.data.reading.spellings import PLAIN

Kind = Literal["dataset", "frame", "list", "strings"]


@dataclass(frozen=True)
class Origin:
    """How rows are reached from Python."""

    kind: Kind
    name: str = "rows"
    """What is bound: 'chats'."""
    split: str | None = None
    """Which of its splits holds the rows."""
    made: str = ""
    """The expression that makes them where no variable holds them: 'Dataset.from_json("x")'."""
    imports: tuple[str, ...] = ()
    """What `made` needs: 'import csv'."""

    @property
    def rows(self) -> str:
        """The rows as an expression."""
        return self.name if self.split is None else f"{self.name}[{self.split!r}]"

    @property
    def each(self) -> str:
        """The rows one by one, each a dict, as an expression."""
        return f'{self.rows}.to_dict("records")' if self.kind == "frame" else self.rows

    @property
    def opening(self) -> list[str]:
        """The statements that come before."""
        return [*self.imports, f"{self.name} = {self.made}"] if self.made else []


def columns_in_python(reading: Reading) -> tuple[dict[str, str], tuple[str, ...]]:
    """Of each of the format's own columns the expression of a `row`, and the modules these use."""
    columns = reading.format.python({ours: _cell(reading, ours) for ours in reading.columns})
    return dict(columns), _modules(reading)


def mapping(origin: Origin, reading: Reading, found: Sequence[str]) -> str | None:
    """The line that brings rows to the format's own columns; None where there is nothing to do.

    None, too, where the other columns go with a row: then they aren't to be left out.

    Args:
        found: all the columns of the rows; those that aren't used are left out, since with them
            the new rows might be read in yet another way.
    """
    if reading.format.rest:
        return None
    wanted = reading.format.python({ours: _cell(reading, ours) for ours in reading.columns})
    if all(value == f"row[{name!r}]" for name, value in wanted.items()):
        return None
    name = origin.name
    new = ", ".join(f"{column!r}: {value}" for column, value in wanted.items())
    if origin.kind == "list":
        line = f"[{{{new}}} for row in {name}]"
    elif _only_renames(reading, wanted):
        line = _renamed(origin, reading, found)
    elif origin.kind == "dataset":
        line = f"{name}.map(lambda row: {{{new}}}).select_columns({list(wanted)!r})"
    else:
        made = ", ".join(f"{c}=[{value} for row in {origin.each}]" for c, value in wanted.items())
        line = f"{name}.assign({made})[{list(wanted)!r}]"
    return _line(origin, reading, f"{name} = {line}")


def _renamed(origin: Origin, reading: Reading, found: Sequence[str]) -> str:
    used = list(reading.columns.values())
    names = {theirs: ours for ours, theirs in reading.columns.items() if theirs != ours}
    frame = origin.kind == "frame"
    only = ""
    if len(used) < len(found):
        only = f"[{used!r}]" if frame else f".select_columns({used!r})"
    return f"{origin.name}{only}.{'rename(columns=' if frame else 'rename_columns('}{names!r})"


def without_copies(origin: Origin, reading: Reading) -> str:
    """The line that keeps one of each of the rows that are read alike."""
    rows, key = origin.rows, _key(origin, reading)
    if origin.kind == "strings":
        return "; ".join([*origin.opening, f"{rows} = list(dict.fromkeys({rows}))"])
    if origin.kind == "list":
        line = f"{rows} = list({{{key}: row for row in {rows}}}.values())"
    else:
        places = f"list({{{key}: place for place, row in enumerate({origin.each})}}.values())"
        line = f"{rows} = {rows}.{'select(' if origin.kind == 'dataset' else 'iloc['}{places}"
        line += ")" if origin.kind == "dataset" else "]"
    return "; ".join([*origin.opening, line])


def without_held_out(
    origin: Origin, reading: Reading, held_out: Origin, held_reading: Reading
) -> str | None:
    """The line that takes the rows that are held out, too, from those to train on.

    None where the two are written differently, so that no short line compares them.
    """
    if _shape(reading) != _shape(held_reading):
        return None
    if held_out.made and held_out.made != origin.made:
        held_out = replace(held_out, name="held_out")
    opening = [*origin.opening]
    opening += [step for step in held_out.opening if step not in opening]
    known = f"known = {{{_key(held_out, held_reading)} for row in {held_out.each}}}"
    rows, key = origin.rows, _key(origin, reading)
    if origin.kind == "dataset":
        line = f"{rows} = {rows}.filter(lambda row: {key} not in known)"
    elif origin.kind == "frame":
        line = f"{rows} = {rows}[[{key} not in known for row in {origin.each}]]"
    else:
        line = f"{rows} = [row for row in {rows} if {key} not in known]"
    return "; ".join([*opening, known, line])


def _shape(reading: Reading) -> tuple[object, ...]:
    spelled = {ours: reading.spellings.get(ours, PLAIN).name for ours in reading.columns}
    return reading.format.name, tuple(reading.columns), tuple(spelled.values())


def _only_renames(reading: Reading, wanted: Mapping[str, str]) -> bool:
    theirs = reading.columns
    distinct = len(set(theirs.values())) == len(theirs)
    return distinct and {o: f"row[{t!r}]" for o, t in theirs.items()} == dict(wanted)


def _cell(reading: Reading, ours: str) -> str:
    column = f"row[{reading.columns[ours]!r}]"
    return reading.spellings.get(ours, PLAIN).python.replace("CELL", column)


def _key(origin: Origin, reading: Reading) -> str:
    """An expression of a row that is the same for rows that are read alike."""
    if origin.kind == "strings":
        return "row"
    columns = [f"row[{name!r}]" for name in dict.fromkeys(reading.columns.values())]
    return f"str({columns[0]})" if len(columns) == 1 else f"str([{', '.join(columns)}])"


def _line(origin: Origin, reading: Reading, statement: str) -> str:
    imports = [f"import {name}" for name in _modules(reading)]
    before = [step for step in imports if step not in origin.imports]
    return "; ".join([*before, *origin.opening, statement])


def _modules(reading: Reading) -> tuple[str, ...]:
    """What the expressions of a reading's cells use."""
    spelled = (reading.spellings.get(ours, PLAIN) for ours in reading.columns)
    return tuple(sorted({name for spelling in spelled for name in spelling.imports}))
