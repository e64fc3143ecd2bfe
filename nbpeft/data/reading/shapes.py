"""What a shape of rows is: its columns, what may stand in them, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbpeft.data.reading.examples import Example
from nbpeft.data.reading.spellings import PLAIN, Spelling
from nbpeft.data.reading.values import Values
from nbpeft.errors import listed, quoted

REST = " rest"
"""Under which name `Format.example` gets a row's other columns; no column's own name."""
CHAT = "a chat: a list of {role, content}"


@dataclass(frozen=True)
class Cell:
    """What may stand in a column."""

    wants: str
    """In words, for messages: 'a string', …"""
    string: bool = False
    chat: bool = False
    answer: bool = False
    """Whether a chat must hold an assistant's answer to be trained on."""
    alone: bool = False
    """Whether that answer may be the first message (the prompt stands in another column)."""
    also: tuple[str, ...] = ()
    """Other names that such a column goes by, in lower case."""
    by_look: bool = False
    """Whether a column of any name is taken for it by what stands in it."""
    optional: bool = False
    """Whether the column, or a cell of it, may be missing or empty."""
    spelled: bool = False
    """Whether a string that is a chat written down, such as a transcript, is read as that chat."""
    values: Values | None = None
    """What stands in a column of neither text nor chats."""


@dataclass(frozen=True)
class Format:
    """One shape of rows: its columns, what stands in them, and how a row is read."""

    name: str
    columns: Mapping[str, Cell]
    example: Callable[[Mapping[str, Any]], Example]
    """A checked row, by the format's column names, as an example to train on."""
    python: Callable[[Mapping[str, str]], Mapping[str, str]] = dict
    """The same in Python: expressions of the columns to those of the columns to have instead."""
    remark: str = ""
    """How a row is put together, for the note."""
    problem: Callable[[Example], tuple[str, str] | None] | None = None
    """What is wrong with a row whose cells are good: a column of the format, and why."""
    mixed: bool = False
    """Whether strings and chats may stand in one row."""
    after: str = ""
    """The name of a format that is meant where both fit the same columns."""
    rest: bool = False
    """Whether a row's other columns go with it, as `REST` of what `example` is given."""

    @property
    def wants(self) -> str:
        """In words: 'prompt (…) and completion (…)'."""
        return " and ".join(f"{name} ({cell.wants})" for name, cell in self.columns.items())


@dataclass(frozen=True)
class Reading:
    """A format, which of the user's columns stands for each of its own, and how it is spelled."""

    format: Format
    columns: Mapping[str, str]
    """The format's column name to the user's."""
    spellings: Mapping[str, Spelling] = field(default_factory=dict)
    """The format's column name to how chats are written in it; PLAIN where it isn't said."""

    def cell(self, ours: str, value: Any) -> Any:
        """What stands in a column, brought to the usual spelling.

        Raises:
            ValueError: it can't be, and why.
        """
        return self.spellings.get(ours, PLAIN).read(value)

    def example(self, row: Mapping[str, Any]) -> Example:
        """A checked row, by the user's column names, as an example to train on."""
        cells = {ours: self.cell(ours, row[theirs]) for ours, theirs in self.columns.items()}
        if self.format.rest:
            used = self.columns.values()
            cells[REST] = {name: cell for name, cell in row.items() if name not in used}
        return self.format.example(cells)

    def note(self, found: Sequence[str]) -> str:
        """How the data is read, and which of the columns `found` are not used, in a line."""
        columns = ", ".join(self._told(ours, theirs) for ours, theirs in self.columns.items())
        remark = self.format.remark if len(self.columns) == len(self.format.columns) else ""
        unused = [name for name in found if name not in self.columns.values()]
        fate = "kept beside" if self.format.rest else "not used"
        rest = f"; columns {fate}: {listed(map(shown, unused))}" if unused else ""
        remark = f"; {remark}" if remark else ""
        return f"rows are read as {self.format.name} ({columns}{remark}){rest}"

    def _told(self, ours: str, theirs: str) -> str:
        told = ours if ours == theirs else f"{ours} from {shown(theirs)}"
        spelling = self.spellings.get(ours, PLAIN)
        return f"{told}, {spelling.name}" if spelling.name else told


def shown(name: str) -> str:
    """A column's name as it stands in a line: as it is, or clipped and escaped where it must be."""
    return name if name.isprintable() and 0 < len(name) <= 60 else quoted(name)
