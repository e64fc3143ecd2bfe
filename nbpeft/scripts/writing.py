"""Python as it is written down: calls and values in lines of at most 100 columns.

What users typed comes in as values only and is written by `repr`: no quote, line break or mark that
turns the reading order around can leave its string.
"""

from __future__ import annotations

import dataclasses
import io
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

WIDTH = 100
INDENT = "    "


@dataclass(frozen=True)
class Code:
    """An expression that is written as it stands."""

    text: str


@dataclass(frozen=True)
class Piece:
    """A part of a script."""

    code: str = ""
    imports: frozenset[tuple[str, str]] = frozenset()
    """(module, name); the name is '' where the module itself is used."""
    words: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What it wants of the trainer's config."""
    own: tuple[str, ...] = ()
    """What nbpeft does here that the script doesn't."""


def names(module: str, *what: str) -> frozenset[tuple[str, str]]:
    """Imports of one module."""
    return frozenset((module, name) for name in what or ("",))


def imported(imports: Iterable[tuple[str, str]]) -> str:
    """The import statements, Python's own first."""
    found: dict[str, list[str]] = {}
    for module, name in sorted(imports):
        found.setdefault(module, []).append(name)
    plain = [f"import {module}" for module, own in found.items() if "" in own]
    from_them = []
    for module, own in found.items():
        given = [name for name in own if name]
        if given:
            from_them += _from(module, given)
    standard = [line for line in plain if line.split()[1] in STANDARD]
    return "\n".join([*standard, "", *(x for x in plain if x not in standard), *from_them]).strip()


STANDARD = ("json", "random", "re")


def _from(module: str, given: list[str]) -> list[str]:
    line = f"from {module} import {', '.join(given)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"{INDENT}{name}," for name in given), ")"]


def quoted(text: str) -> str:
    """A string in Python; in double quotes where it needs no escapes."""
    plain = repr(text)
    return f'"{text}"' if plain == f"'{text}'" and '"' not in text else plain


def literal(value: Any, depth: int = 0, before: int = 0) -> str:
    """A value in Python, over several lines where one is too short.

    Args:
        depth: of the line that it begins on, in indents.
        before: columns of that line that are taken.
    """
    line = one_line(value)
    if before + len(line) + 1 <= WIDTH:
        return line
    inner, outer = INDENT * (depth + 1), INDENT * depth
    if isinstance(value, str):
        pieces = [f"{inner}{piece}\n" for piece in _split(value, WIDTH - len(inner))]
        return f"(\n{''.join(pieces)}{outer})"
    if isinstance(value, Mapping):
        items = "".join(
            f"{inner}{quoted(str(k))}: "
            f"{literal(v, depth + 1, len(inner) + len(quoted(str(k))) + 2)},\n"
            for k, v in value.items()
        )
        return f"{{\n{items}{outer}}}"
    if isinstance(value, list | tuple | set | frozenset):
        opening, closing = line[0], line[-1]
        return f"{opening}\n{_filled([one_line(v) for v in value], inner)}\n{outer}{closing}"
    return folded(line, depth)


def one_line(value: Any) -> str:
    """A value in Python, in one line."""
    if isinstance(value, Code):
        return value.text
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{one_line(k)}: {one_line(v)}" for k, v in value.items()) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(one_line(v) for v in value) + "}" if value else "set()"
    if isinstance(value, list):
        return "[" + ", ".join(map(one_line, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(one_line, value)) + ("," if len(value) == 1 else "") + ")"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return call(type(value).__name__, changed(value), one=True)
    return repr(value)


def changed(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that aren't at their default."""
    found = {}
    for field in dataclasses.fields(value):
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        given = getattr(value, field.name)
        if field.init and given != default:
            found[field.name] = given
    return found


def call(
    name: str, words: Mapping[str, Any], *first: str, before: int = 0, one: bool = False
) -> str:
    """A call with keywords: in a line, or a line each.

    Args:
        first: expressions that come before them.
        before: columns that are taken before it.
        one: in a line, however long.
    """
    given = [*first, *(f"{word}={one_line(value)}" for word, value in words.items())]
    line = f"{name}({', '.join(given)})"
    if one or before + len(line) <= WIDTH:
        return line
    lines = [f"{INDENT}{expression},\n" for expression in first]
    lines += [f"{INDENT}{w}={literal(v, 1, len(INDENT + w) + 1)},\n" for w, v in words.items()]
    return f"{name}(\n{''.join(lines)})"


def assigned(name: str, function: str, words: Mapping[str, Any], *first: str) -> str:
    """`name = function(first, words)`."""
    return f"{name} = {call(function, words, *first, before=len(name) + 3)}"


def folded(code: str, depth: int = 0) -> str:
    """Code whose lines are broken where brackets let them, once they are too long."""
    return "\n".join(_folded(line, depth) for line in code.split("\n"))


def _folded(line: str, depth: int) -> str:
    if len(line) + len(INDENT) * depth <= WIDTH:
        return line
    start = len(line) - len(line.lstrip())
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(line.strip()).readline))
    except (tokenize.TokenError, IndentationError):
        return line  # a part of a statement: it stays as it is
    inner = " " * (start + len(INDENT)) + INDENT * depth
    lines, now, at, brackets = [], " " * start + INDENT * depth, 0, 0
    for token in tokens:
        gap = " " * (token.start[1] - at)
        if brackets and len(now) + len(gap) + len(token.string) > WIDTH - 2:
            lines.append(now.rstrip())
            now, gap = inner, ""
        now += gap + token.string
        at = token.end[1]
        brackets += (token.string in "([{") - (token.string in ")]}") if token.string else 0
    return "\n".join([*lines, now.rstrip()])[len(INDENT) * depth :]


def _filled(parts: list[str], inner: str) -> str:
    """Parts behind one another, with commas, as many as a line holds."""
    lines, now = [], inner
    for part in parts:
        if now != inner and len(now) + len(part) + 1 > WIDTH:
            lines.append(now.rstrip())
            now = inner
        now += f"{part}, "
    return "\n".join([*lines, now.rstrip()])


def _split(text: str, width: int) -> list[str]:
    """A string as several, which Python puts together again."""
    pieces, now = [], ""
    for character in text:
        if len(quoted(now + character)) > width:
            pieces.append(quoted(now))
            now = ""
        now += character
        if character == "\n":
            pieces.append(quoted(now))
            now = ""
    return [*pieces, quoted(now)] if now else pieces
