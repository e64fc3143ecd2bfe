r"""Texts of models and data made safe to show: for HTML, and for terminals and text/plain.

What a model writes may hold markup, terminal commands, or marks that turn the reading order
around (Boucher and Anderson, Trojan Source, 2021). All of it is shown, none of it works. The
notation is Python's own (`\x1b`, `\u202e`), as in nbpeft's error messages.
"""

from __future__ import annotations

import html
import unicodedata

LIMIT = 2_000
"""Characters of one text that are shown, unless the caller says otherwise."""

# Persian and Indic spelling and joined emoji need these two; neither reorders nor hides text.
_JOINERS = "\u200c\u200d"
# Control, format (the bidi marks among them) and lone surrogates, which no UTF-8 stream can carry,
# and the line and paragraph separators.
_SHOWN_AS_CODE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def escape(text: str, limit: int = LIMIT) -> str:
    """`text` as the content or a quoted attribute of an HTML element: inert, and cut at `limit`.

    Newlines and tabs stay (show it under `white-space: pre-wrap`); other control characters, ANSI
    escapes and bidi marks are shown as code; a cut ends with '… (N more characters)'.
    """
    return html.escape(_inert(_cut(text, limit)), quote=True)


def plain(text: str, limit: int = LIMIT, one_line: bool = False) -> str:
    """`text` for a terminal or a text/plain output: inert, and cut at `limit` characters.

    Newlines stay, or are shown as ⏎ where `one_line` is asked for; tabs become four spaces, so
    that columns hold; other control characters, ANSI escapes and bidi marks are shown as code.
    """
    safe = _inert(_cut(text, limit)).replace("\t", "    ")
    return safe.replace("\n", "⏎") if one_line else safe


def glimpse(text: str, limit: int = 300) -> str:
    """The beginning of a text of which that is enough, '(empty)' for none; not made safe."""
    if not text.strip():
        return "(empty)"
    return text if len(text) <= limit else f"{text[:limit].rstrip()}…"


def _cut(text: str, limit: int) -> str:
    """The first `limit` characters, and how many there are beyond them."""
    more = len(text) - limit
    return f"{text[:limit]}… ({more:,} more characters)" if more > 0 else text


def _inert(text: str) -> str:
    """Every character that acts instead of showing, shown as its code."""
    text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or not _acts(c) else repr(c)[1:-1] for c in text)


def _acts(character: str) -> bool:
    """Whether a character that is not printable does something unseen."""
    if character in "\n\t" or character in _JOINERS:
        return False
    return unicodedata.category(character) in _SHOWN_AS_CODE
