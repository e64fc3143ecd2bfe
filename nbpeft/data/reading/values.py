"""Cells that are neither text nor a chat: thumbs, marks and labels, however they are written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nbpeft.data.reading.spellings import Spelling
from nbpeft.errors import quoted

UP = (
    "1", "+", "+1", "true", "yes", "y", "good", "great", "up", "thumbs_up", "thumb_up", "thumbsup",
    "like", "liked", "upvote", "positive", "pos", "desirable", "accept", "accepted", "chosen",
    "win", "correct", "👍",
)  # fmt: skip
DOWN = (
    "0", "-", "-1", "false", "no", "n", "bad", "poor", "down", "thumbs_down", "thumb_down",
    "thumbsdown", "dislike", "disliked", "downvote", "negative", "neg", "undesirable", "reject",
    "rejected", "lose", "incorrect", "👎",
)  # fmt: skip
SKIN = re.compile("[\U0001f3fb-\U0001f3ff\ufe0f]")
"""What may follow a thumb: the tone of its skin, and that it is a picture."""
NAMED = 6
"""Words for thumbs that a note lists."""


@dataclass(frozen=True)
class Column:
    """What stands in a column that holds neither text nor chats, as far as its first rows tell."""

    values: Sequence[Any] = ()
    names: Sequence[str] = ()
    """Of a `datasets.ClassLabel`, whose cells are places among these."""


@dataclass(frozen=True)
class Values:
    """One kind of such cells."""

    read: Callable[[Any], Any]
    """A cell as it is meant; ValueError says what is wrong with it."""
    told: Callable[[Sequence[Any]], str]
    """How these values are taken, for the note; nothing where it is plain."""

    def spelling(self, column: Column) -> Spelling:
        """How the cells of this column are read."""
        names = column.names
        if not names:
            return Spelling(self.told(column.values), self.fits_one, self.read, "CELL")

        def named(cell: Any) -> Any:
            return None if cell is None or cell < 0 else self.read(names[cell])

        python = f"{list(names)!r}[CELL]"
        return Spelling(self.told(names), self.fits_one, named, python)

    def fits(self, column: Column) -> bool:
        """Whether most cells of a column are of this kind."""
        cells = column.names or column.values
        return 2 * sum(map(self.fits_one, cells)) > len(cells)

    def fits_one(self, cell: Any) -> bool:
        """Whether a cell is of this kind."""
        try:
            self.read(cell)
        except ValueError:
            return False
        return True


def _thumb(cell: Any) -> bool | None:
    if cell is None or isinstance(cell, bool):
        return cell
    word = str(int(cell)) if cell in (0, 1, -1) else cell
    if isinstance(word, str):
        plain = SKIN.sub("", re.sub(r"(?<=\w)[\s-]+(?=\w)", "_", word.strip().lower()))
        if plain in (*UP, *DOWN):
            return plain in UP
    raise ValueError(
        f"it is {quoted(cell)}, which is neither thumb up nor down; write True or False"
    )


def _told_thumbs(values: Sequence[Any]) -> str:
    """Which words were taken for up and which for down; nothing for True and False."""
    words = [value for value in dict.fromkeys(values) if isinstance(value, str)]
    taken = [(word, THUMBS.fits_one(word) and _thumb(word)) for word in words[:NAMED]]
    return " and ".join(f"{word} as {'up' if up else 'down'}" for word, up in sorted(taken))


def _mark(cell: Any) -> float | None:
    if cell is None:
        return None
    try:
        number = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"it is {quoted(cell)}, which is no number; write a mark such as 4 or 0.5")
    return number


def _plain(values: Sequence[Any]) -> str:
    return ""


def _label(cell: Any) -> str | int | bool | None:
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, str) and not cell.strip():
        raise ValueError("it is empty; fill it in or drop the row")
    if cell is None or isinstance(cell, str | int):
        return cell
    raise ValueError(f"it is {quoted(cell)}; a label is a name or a whole number")


THUMBS = Values(_thumb, _told_thumbs)
MARKS = Values(_mark, _plain)
LABELS = Values(_label, _plain)


def order_of(labels: Sequence[str | int | bool]) -> list[str]:
    """The names of labels in the order of their numbers: of numbers their own, else of names."""
    known = list(dict.fromkeys(labels))
    if all(isinstance(label, int) for label in known):
        return [str(label) for label in sorted(known)]
    return sorted(map(str, known))
