"""Fixed-width text: how wide characters are, wrapping, padding, and widths for columns.

Texts come here already made safe (`plain`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def width(text: str) -> int:
    """Columns that `text` takes in a terminal: CJK and emoji two, combining marks and joiners none.

    Joined emoji count as their parts, so a family may count too wide; never too narrow.
    """
    return len(text) if text.isascii() else sum(map(_character_width, text))


def padded(text: str, columns: int, align: str = "left") -> str:
    """`text` filled with spaces to `columns`."""
    space = " " * (columns - width(text))
    return space + text if align == "right" else text + space


def wrapped(text: str, columns: int) -> list[str]:
    """Lines of at most `columns`, broken at spaces where there are any; at least one line."""
    return [piece for line in text.split("\n") for piece in _wrapped_line(line, columns)]


def column_widths(rows: Sequence[Sequence[str]], total: int, least: int = 8) -> list[int]:
    """A width for each column so that all fit into `total`: the widest give first.

    `rows` are whole rows (one cell a column). No column goes below `least` unless its texts are
    narrower, so many columns may come to more than `total`.
    """
    widths = [
        max((width(line) for cell in column for line in cell.split("\n")), default=0)
        for column in zip(*rows, strict=True)
    ]
    # One ceiling for all, lowered until the sum fits: narrow columns keep their width.
    ceiling = min(max(widths, default=0), total)
    while sum(min(w, ceiling) for w in widths) > total and ceiling > least:
        ceiling -= 1
    return [min(w, ceiling) for w in widths]


def _wrapped_line(line: str, columns: int) -> list[str]:
    if width(line) <= columns:
        return [line]
    pieces, rest = [], line
    while width(rest) > columns:
        cut = _break_at(rest, columns)
        pieces.append(rest[:cut].rstrip(" "))
        rest = rest[cut:].lstrip(" ")
    return [*pieces, rest] if rest else pieces


def _break_at(text: str, columns: int) -> int:
    """How many characters of `text` go on a line: to the last space that fits, or as many as do."""
    used = fits = 0
    for character in text:
        used += _character_width(character)
        if used > columns:
            break
        fits += 1
    fits = max(1, fits)
    space = text.rfind(" ", 0, fits + 1)
    return space if space > 0 and text[:space].strip() else fits


def _character_width(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
