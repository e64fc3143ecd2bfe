"""What nbpeft raises, in one tree.

    UsageError (IPython's own for magics: one message, no traceback, Run All stops)
    └── NbPeftError
        ├── RequestError   a flag, body key, keyword or value that can't be
        ├── DataError      rows that can't be trained on, named by row and column
        ├── ModelError     no model, several models, or one that can't be tuned this way
        ├── AdapterError   a name, version, folder or file of an adapter
        └── RunError       training itself could not go on
    KeyboardInterrupt
    └── Stopped            Stop was pressed: what there was is kept, Run All stops

Every message is one line: what was given, why it can't be, what to type.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from IPython.core.error import UsageError


class NbPeftError(UsageError):
    """The root of everything that nbpeft raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        # IPython leaves the traceback out for UsageError itself, but not for what is below it.
        return [f"{type(self).__name__}: {self}"]


class RequestError(NbPeftError):
    """A flag, body key, keyword or value that can't be."""


class DataError(NbPeftError):
    """Rows that can't be trained on."""


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean …?' with the nearest of `known`, or an empty string."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    near += [n for n in names if n.lower() == word.lower() and n not in near]
    return f" Did you mean {' or '.join(near)}?" if near else ""


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names as a sentence part: 'a, b, c' or 'a, b, … (40 in all)'; 'none' when there are none."""
    names = list(names)
    if len(names) > limit:
        return f"{', '.join(names[:limit])}, … ({len(names)} in all)"
    return ", ".join(names) or "none"
