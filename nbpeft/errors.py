"""What nbpeft raises, in one tree.

    UsageError (IPython's own for magics: one message, no traceback, Run All stops)
    └── NbPeftError
        ├── RequestError   a flag, body key, keyword or value that can't be
        ├── DataError      rows that can't be trained on, named by row and column
        │   └── RowsError  several such rows, all of them
        ├── ModelError     no model, several models, or one that can't be tuned this way
        ├── AdapterError   a name, version, folder or file of an adapter
        └── RunError       training itself could not go on
    KeyboardInterrupt
    └── Stopped            Stop was pressed: what there was is kept, Run All stops

Every message is one line: what was given, why it can't be, what to type. Of a RowsError the rows
stand below it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from IPython.core.error import UsageError

LONGEST_WORD = 200
"""Characters of a mistyped word that is still looked for among the known ones."""
LONGEST_NAME = 80
"""Characters that a name in a message has at most."""


class NbPeftError(UsageError):
    """The root of everything that nbpeft raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        # IPython leaves the traceback out for UsageError itself, but not for what is below it.
        return [f"{type(self).__name__}: {self}"]


class RequestError(NbPeftError):
    """A flag, body key, keyword or value that can't be."""


class DataError(NbPeftError):
    """Rows that can't be trained on."""


class RowsError(DataError):
    """Rows that can't be used, all of them: shown in a line each below the message."""

    MOST = 20
    """Lines that are shown."""

    def __init__(self, message: str, problems: Iterable[tuple[int, str]]) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        """(number of the row from 0, what is wrong with it)."""

    def _render_traceback_(self) -> list[str]:
        lines = [
            f"  row {number}: {quoted(what, LONGEST_WORD)[1:-1]}"
            for number, what in self.problems[: self.MOST]
        ]
        more = len(self.problems) - len(lines)
        rest = [f"  … and {more:,} more; the error's .problems has them all"] if more else []
        return [*super()._render_traceback_(), *lines, *rest]


class ModelError(NbPeftError):
    """No model, several models, or one that can't be tuned this way."""


class AdapterError(NbPeftError):
    """A name, version, folder or file of an adapter."""


class RunError(NbPeftError):
    """Training could not go on."""


class Stopped(KeyboardInterrupt):
    """Stop was pressed; the message says what was kept and how to go on.

    A KeyboardInterrupt, so that Run All stops and nothing swallows it on the way
    (ipython/ipython#14889); shown as one line instead of the trainer's whole stack.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"Stopped: {self}"]


def quoted(value: object, limit: int = 60) -> str:
    """`value` as it may stand in a message: one line, printable, at most `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: limit + 1])
    return f"'{clean[:limit]}…'" if len(clean) > limit else f"'{clean}'"


def _printable(name: str) -> str:
    """A name as it may stand in a message: a column may be called anything."""
    return quoted(name, LONGEST_NAME)[1:-1]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean …?' with the nearest of `known`, or an empty string.

    Nearest are those that `word` is the initials of ('lr' is learning_rate) and those spelled
    alike, else those that begin with it.
    """
    if not 0 < len(word) <= LONGEST_WORD:
        return ""
    names = {name.lower(): name for name in known}
    wanted = word.lower()
    near = [n for n in names if len(wanted) > 1 and _initials(n) == wanted.strip("-")]
    near += difflib.get_close_matches(wanted, names, n=2, cutoff=0.6)
    if not near:
        near = [n for n in names if len(wanted) > 2 and n.startswith(wanted)]
    return f" Did you mean {' or '.join(_printable(names[n]) for n in near[:2])}?" if near else ""


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.strip("-").replace("-", "_").split("_"))


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names as a sentence part: 'a, b, c' or 'a, b, … (40 in all)'; 'none' when there are none."""
    names = [_printable(name) for name in names]
    if len(names) > limit:
        return f"{', '.join(names[:limit])}, … ({len(names)} in all)"
    return ", ".join(names) or "none"
