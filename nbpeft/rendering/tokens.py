"""Rows token by token: what is trained, what is only read, and what is cut off, told apart.

In HTML by weight, colour and a line through; where a frontend takes the styles away, `<b>` and
`<s>` still say it. As text by marks: «trained», plain, ~~cut off~~. Inline styles only, which
untrusted notebooks keep; the colours read on white and on black.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from nbpeft.rendering.escaping import escape, plain
from nbpeft.rendering.layout import wrapped
from nbpeft.rendering.numbers import count
from nbpeft.rendering.table import NO_MATH

Kind = Literal["trained", "read", "cut"]

LIMIT = 200
"""Characters of one token that are shown."""
SEPARATOR = "·"
MARKS: dict[Kind, tuple[str, str]] = {
    "trained": ("«", "»"),
    "read": ("", ""),
    "cut": ("~~", "~~"),
}
_TAGS: dict[Kind, tuple[str, str]] = {
    "trained": (
        "b",
        "background-color: rgba(61, 139, 217, 0.25); border-bottom: 2px solid #3d8bd9",
    ),
    "read": ("span", ""),
    "cut": ("s", "color: #808080"),
}
_WORDS: dict[Kind, str] = {
    "trained": "trained",
    "read": "only read",
    "cut": "cut off",
}
# A border that is no space: copied text stays the text.
_SEAM = "border-left: 1px dotted rgba(128, 128, 128, 0.7)"
_WIDTH = 92


@dataclass(frozen=True)
class Token:
    """One token's text, as it is; or that of a few that only together make a character."""

    text: str
    kind: Kind


@dataclass(frozen=True)
class Gap:
    """Tokens that aren't shown."""

    tokens: int


@dataclass(frozen=True)
class TokenRow:
    """A row as tokens, with a line above and a line below."""

    title: str
    tokens: tuple[Token | Gap, ...]
    note: str


def tokens_html(rows: Sequence[TokenRow]) -> str:
    """The rows with a legend, as HTML; every text is escaped here."""
    kinds = ", ".join(_wrap_html(kind, word) for kind, word in _WORDS.items())
    legend = f"<div>{kinds}; dotted lines: where tokens begin; ⏎ a new line</div>"
    return f'<div class="{NO_MATH}">{legend}{"".join(map(_row_html, rows))}</div>'


def tokens_text(rows: Sequence[TokenRow]) -> str:
    """The rows with a legend, as text; all lines but the first are indented.

    So no row can pass for a line of nbpeft's own. Marks that stand in the data are shown as code.
    """
    marks = ", ".join(f"{MARKS[kind][0]}{word}{MARKS[kind][1]}" for kind, word in _WORDS.items())
    lines = [f"[nbpeft] {marks}; {SEPARATOR} between tokens, ⏎ a new line"]
    for row in rows:
        lines += ["", *_lines(plain(row.title, one_line=True), 2)]
        lines += _lines("".join(_runs_text(row.tokens)), 4)
        lines += _lines(plain(row.note, one_line=True), 2)
    return "\n".join(line.rstrip() for line in lines)


def _row_html(row: TokenRow) -> str:
    return (
        f'<div style="font-weight: bold; margin-top: 0.8em">{escape(row.title)}</div>'
        '<div style="white-space: pre-wrap; font-family: monospace; line-height: 1.7; '
        f'overflow-wrap: anywhere">{"".join(_runs_html(row.tokens))}</div>'
        f"<div>{escape(row.note)}</div>"
    )


def _runs_html(tokens: Sequence[Token | Gap]) -> Iterator[str]:
    for kind, run in groupby(tokens, _kind):
        if kind is None:
            yield from (f"<i> … {_more(gap)} … </i>" for gap in run)
        else:
            inner = (f'<span style="{_SEAM}">{escape(_shown(t), LIMIT)}</span>' for t in run)
            yield _wrap_html(kind, "".join(inner))


def _runs_text(tokens: Sequence[Token | Gap]) -> Iterator[str]:
    for kind, run in groupby(tokens, _kind):
        if kind is None:
            yield from (f" … {_more(gap)} … " for gap in run)
        else:
            opening, closing = MARKS[kind]
            yield opening + SEPARATOR.join(_unmarked(plain(_shown(t), LIMIT)) for t in run)
            yield closing


def _kind(token: Token | Gap) -> Kind | None:
    return token.kind if isinstance(token, Token) else None


def _more(gap: Token | Gap) -> str:
    assert isinstance(gap, Gap)
    return f"{count(gap.tokens)} more tokens"


def _wrap_html(kind: Kind, inner: str) -> str:
    tag, style = _TAGS[kind]
    return f'<{tag} style="{style}">{inner}</{tag}>' if style else f"<{tag}>{inner}</{tag}>"


def _shown(token: Token | Gap) -> str:
    """A token's text with its whitespace seen: ⏎ and ⇥ before what they do, ␣ for spaces alone."""
    assert isinstance(token, Token)
    text = token.text
    if text and not text.strip(" "):
        return "␣" * len(text)
    return text.replace("\n", "⏎\n").replace("\t", "⇥\t")


def _unmarked(text: str) -> str:
    """`text` without what would pass for a mark or a seam: shown as code, as in Python."""
    for mark in ("«", "»", SEPARATOR):
        text = text.replace(mark, repr(mark.encode("latin-1"))[2:-1])
    return text.replace("~~", r"\x7e\x7e")


def _lines(text: str, indent: int) -> list[str]:
    return [" " * indent + line for line in wrapped(text, _WIDTH)]
