"""Where in a cell the cursor stands: which magic, which flag, body key or value is being typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from nbpeft.cells import LINE
from nbpeft.request import field_name, typed

_CELL = re.compile(r"\s*%%(\w+)")
_LINE = re.compile(r"(?:\s*|[\w\s,.\[\]]+=\s*)%(\w+)")
_WORD = re.compile(r"""(?:[^\s'"]|'[^']*(?:'|$)|"[^"]*(?:"|$))+""")
_PAIR = re.compile(r"([\w-]+):(?:[ \t]+(.*))?$")


RUNS = ("finetune", "distill", "peft_fit")
"""The magics whose words are those of a run."""


@dataclass(frozen=True)
class Cursor:
    """The cursor in a cell of one of the magics."""

    magic: str
    wants: Literal["word", "value", "key", "nothing"]
    """A name or flag on the line, a value of `word` (on the line or in the body), or a body key;
    'nothing' in the rest of a body: prompts, rows."""
    fragment: str
    """What is typed of it, up to the cursor."""
    word: str = ""
    """The word whose value is wanted, as `Request` spells it when typed: 'from', 'max_steps'."""
    given: dict[str, str] = field(default_factory=dict)
    """The other words of the cell, line and body, and their values as they stand there."""
    names: tuple[str, ...] = ()
    """What stands on the line beside flags."""
    in_body: bool = False
    after: str = ""
    """The rest of the cursor's line."""


Switches = Callable[[str], Collection[str]]
"""The flags of a magic that take no value."""


def locate(cell: str, row: int, column: int, magics: Collection[str], switches: Switches) -> (
    Cursor | None
):  # fmt: skip
    """The cursor in line `row` of `cell` (from 0), before character `column`; None elsewhere."""
    lines = cell.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    on_cell = _CELL.match(lines[first])
    magic = on_cell or _LINE.match(lines[row])
    if magic is None or magic[1] not in magics:
        return None
    name, plain = magic[1], switches(magic[1])
    if on_cell and row != first:
        given, names, _ = _read(_WORD.findall(lines[first][magic.end() :]), plain)
        start = Cursor(name, "nothing", "", given=given, names=names, in_body=True)
        return _in_body(start, lines[first + 1 :], row - first - 1, column) if row > first else None
    if column <= magic.end():
        return None  # the magic's own name: IPython completes it
    given, names, wanted, fragment = _on_line(lines[row], magic.end(), column, plain)
    if on_cell:
        given = {**_keys(lines[first + 1 :]), **given}
    wants: Literal["word", "value"] = "value" if wanted else "word"
    after = lines[row][column:]
    return Cursor(name, wants, fragment, wanted, given=given, names=names, after=after)


def _on_line(
    line: str, start: int, column: int, switches: Collection[str]
) -> tuple[dict[str, str], tuple[str, ...], str, str]:
    """(words and values, names, the word whose value is wanted, what is typed of it)."""
    before = _WORD.findall(line[start:column])
    typing = before.pop() if before and not _ends_in_space(line[start:column]) else ""
    after = _WORD.findall(re.sub(r"^\S+", "", line[column:]))  # not the rest of the word itself
    given, names, wanted = _read(before, switches)
    later, more, _ = _read(after, switches)
    word, equals, value = typing.partition("=")
    if not wanted and word.startswith("--") and equals:
        wanted, typing = _typed(word), value
    return {**later, **given}, (*names, *more), wanted, typing


def _ends_in_space(text: str) -> bool:
    """Whether a new word begins after `text`; an open quote goes on."""
    last = list(_WORD.finditer(text))
    return not last or last[-1].end() < len(text)


def _read(
    parts: Iterable[str], switches: Collection[str]
) -> tuple[dict[str, str], tuple[str, ...], str]:
    """(words and values, names, the word that still wants its value)."""
    given: dict[str, str] = {}
    names: list[str] = []
    wanted = ""
    for part in parts:
        if wanted:
            given[wanted], wanted = part.strip("'\""), ""
        elif not part.startswith("--"):
            names.append(part)
        elif "=" in part:
            word, _, value = part.partition("=")
            given[_typed(word)] = value.strip("'\"")
        else:
            given[_typed(part)] = ""
            wanted = "" if _typed(part) in switches else _typed(part)
    return given, tuple(names), wanted


def _in_body(start: Cursor, body: list[str], row: int, column: int) -> Cursor:
    if start.magic == "distill" and not _is_options(start, body, row):
        return start  # a context is verbatim
    line = body[row][:column]
    given = {**_keys(body[:row] + body[row + 1 :]), **start.given}
    start = replace(start, given=given, after=body[row][column:])
    if re.fullmatch(r"(?!-)[\w-]*", line):
        return replace(start, wants="key", fragment=line)
    pair = _PAIR.match(line)
    if pair:
        typing = pair[2]
        if typing is None:  # 'key:' wants a blank first
            return start
        return replace(start, wants="value", word=_typed(pair[1]), fragment=typing)
    item = re.fullmatch(r"\s*(?:-\s+|(?=[^\s-]|$))(.*)", line)
    parent = _parent(body[:row])
    if not item or not parent:
        return start
    return replace(start, wants="value", word=parent, fragment=item[1])


def _is_options(start: Cursor, body: list[str], row: int) -> bool:
    """Whether a line of a %%distill body is YAML: with a teacher, or above the first line ---."""
    if "teacher" in start.given:
        return True
    lines = [line.rstrip() for line in body]
    return LINE in lines and row < lines.index(LINE)


def _parent(above: list[str]) -> str:
    """The key that an indented line or list item belongs to."""
    outer = (line for line in reversed(above) if line.strip() and line[0] not in " \t-")
    opened = _PAIR.match(next(outer, "").rstrip())
    return _typed(opened[1]) if opened and not opened[2] else ""


def _keys(lines: Iterable[str]) -> dict[str, str]:
    pairs = (_PAIR.match(line) for line in lines)
    return {_typed(pair[1]): (pair[2] or "").strip().strip("'\"") for pair in pairs if pair}


def _typed(word: str) -> str:
    """A flag or key as `typed` spells it: '--max-steps' is 'max_steps', '--from' is 'from'."""
    return typed(field_name(word.removeprefix("--")))
