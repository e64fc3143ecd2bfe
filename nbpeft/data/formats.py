"""The shapes that rows come in, one entry of a table each, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbpeft.errors import DataError, did_you_mean, listed, quoted

Message = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """Raw text; every token is trained."""

    text: str


@dataclass(frozen=True)
class Pair:
    """A prompt and the text that answers it; the answer is trained."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Chat:
    """Messages; the assistant's turns from index `answers_from` on are trained."""

    messages: list[Message]
    answers_from: int = 1


Example = Text | Pair | Chat


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


@dataclass(frozen=True)
class Format:
    """One shape of rows: its columns, what stands in them, and how a row is read."""

    name: str
    columns: Mapping[str, Cell]
    example: Callable[[Mapping[str, Any]], Example]
    """A checked row, by the format's column names, as an example to train on."""

    @property
    def wants(self) -> str:
        """In words: 'prompt (…) and completion (…)'."""
        return " and ".join(f"{name} ({cell.wants})" for name, cell in self.columns.items())


def _messages(row: Mapping[str, Any]) -> Example:
    return Chat(row["messages"])


def _prompt_completion(row: Mapping[str, Any]) -> Example:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, str):
        return Pair(prompt, completion)
    return Chat([*prompt, *completion], answers_from=len(prompt))


def _text(row: Mapping[str, Any]) -> Example:
    return Text(row["text"])


CHAT = "a chat: a list of {role, content}"

FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format("messages", {"messages": Cell(CHAT, chat=True, answer=True)}, _messages),
        Format(
            "prompt_completion",
            {
                "prompt": Cell("a string or a chat", string=True, chat=True),
                "completion": Cell(
                    "a string or a chat", string=True, chat=True, answer=True, alone=True
                ),
            },
            _prompt_completion,
        ),
        Format("text", {"text": Cell("a string", string=True)}, _text),
    )
}
"""Every format. A new one is an entry here."""


@dataclass(frozen=True)
class Reading:
    """A format, and which of the user's columns stands for each of its own."""

    format: Format
    columns: Mapping[str, str]
    """The format's column name to the user's."""

    def example(self, row: Mapping[str, Any]) -> Example:
        """A checked row, by the user's column names, as an example to train on."""
        return self.format.example({ours: row[theirs] for ours, theirs in self.columns.items()})

    def note(self, found: Sequence[str]) -> str:
        """How the data is read, and which of the columns `found` are not used, in a line."""
        columns = ", ".join(
            ours if ours == theirs else f"{ours} from {theirs}"
            for ours, theirs in self.columns.items()
        )
        unused = [name for name in found if name not in self.columns.values()]
        rest = f"; columns not used: {listed(unused)}" if unused else ""
        return f"rows are read as {self.format.name} ({columns}){rest}"


def choose(
    found: Sequence[str], formats: Sequence[str], columns: Mapping[str, str] | None, label: str
) -> Reading:
    """The one way to read data with the columns `found`.

    Args:
        found: the user's columns.
        formats: names in FORMATS that the objective can train on.
        columns: the user's own mapping, a format's column name to a column of theirs.
        label: what the user calls the data, for messages.

    Raises:
        DataError: no format fits, or more than one does.
    """
    columns = dict(columns or {})
    known = [FORMATS[name] for name in formats]
    _check_mapping(columns, found, known, label)
    readings = [
        Reading(entry, {ours: columns.get(ours, ours) for ours in entry.columns})
        for entry in known
        if columns.keys() <= entry.columns.keys()
    ]
    fitting = [reading for reading in readings if set(reading.columns.values()) <= set(found)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        ways = " or ".join(_typed(reading.columns) for reading in fitting)
        raise DataError(
            f"{quoted(label)} can be read as {' or as '.join(r.format.name for r in fitting)} "
            f"(columns: {listed(found)}); say which: {ways}."
        )
    wanted = "; ".join(f"{entry.name}: {entry.wants}" for entry in known)
    raise DataError(
        f"{quoted(label)} has the columns {listed(found)}, which fit no format. Wanted is one of "
        f"{wanted}. Say which column is which: {_suggestion(found, known, columns)}."
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
                f"--columns {ours[0]}={theirs}."
            )
        if theirs not in found:
            raise DataError(
                f"columns: {quoted(label)} has no column {quoted(theirs)} to be {wanted}."
                f"{did_you_mean(theirs, found)} It has: {listed(found)}."
            )


def _typed(columns: Mapping[str, str]) -> str:
    return "--columns " + ",".join(f"{ours}={theirs}" for ours, theirs in columns.items())


def _suggestion(found: Sequence[str], known: Sequence[Format], given: Mapping[str, str]) -> str:
    """What to type, with the user's own columns in it where there are enough of them."""
    usable = [entry for entry in known if given.keys() <= entry.columns.keys()] or list(known)
    near = max(usable, key=lambda entry: len(set(entry.columns) & set(found)))
    if len(found) > 1 and not set(near.columns) & set(found):
        near = max(usable, key=lambda entry: len(entry.columns))
    left = [name for name in found if name not in near.columns and name not in given.values()]
    missing = [ours for ours in near.columns if ours not in found or ours in given]
    return _typed(
        {ours: given.get(ours) or (left.pop(0) if left else "COLUMN") for ours in missing}
    )
