"""One table for every closing figure, plan and comparison: HTML for notebooks, text elsewhere.

The HTML is a bare `<table>` with inline styles. It takes its colours from the page, so it reads in
light and dark, and it holds nothing that JupyterLab's sanitizer of untrusted notebooks takes out
(no `<style>`, no `<script>`, no SVG); read in JupyterLab 4.6's list of allowed tags and styles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from nbpeft.rendering.escaping import LIMIT, escape, plain
from nbpeft.rendering.layout import column_widths, padded, wrapped
from nbpeft.rendering.marked import Marked

Align = Literal["left", "right"]
Cell = str | Marked
"""A text, or a text with marked parts; neither is HTML."""

_TEXT_WIDTH = 96
"""Columns of a table as text, where its shortest columns allow it."""
_GAP = "  "
_LONG_WORD = 40
_LINE = "1px solid rgba(128, 128, 128, 0.4)"
# Text with two dollar signs would be typeset as mathematics: MathJax 2 (Colab, nbconvert) and
# 3 and 4 (JupyterLab) each have a class that tells it to keep out.
NO_MATH = "tex2jax_ignore mathjax_ignore"


@dataclass(frozen=True)
class Table:
    """A titled table of texts. Every text is escaped here: callers pass them as they are.

    A row of one cell in a table of several columns is a heading over the rows that follow.
    ValueError where a row has neither one cell nor as many as the header.
    """

    title: str
    header: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    align: tuple[Align, ...] = ()
    """Of each column; left where not given."""
    notes: tuple[str, ...] = ()
    """Lines below the table."""
    limit: int = LIMIT
    """Characters of a cell that are shown."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) not in (1, len(self.header)):
                raise ValueError(f"a row of {len(row)} cells under {len(self.header)} headings")

    def html(self) -> str:
        """The table as HTML that survives save and reopen, GitHub and untrusted notebooks."""
        head = "".join(self._cell_html("th", cell, i) for i, cell in enumerate(self.header))
        head = f"<thead><tr>{head}</tr></thead>" if any(self.header) else ""
        body = "".join(f"<tr>{self._row_html(row)}</tr>" for row in self.rows)
        notes = "".join(
            f'<div style="white-space: pre-wrap">{escape(note, self.limit)}</div>'
            for note in self.notes
        )
        return (
            f'<div class="{NO_MATH}">'
            f'<div style="font-weight: bold">{escape(self.title, self.limit)}</div>'
            # A page in quirks mode would not hand its colour down to tables.
            '<table style="border-collapse: collapse; color: inherit">'
            f"{head}<tbody>{body}</tbody></table>{notes}</div>"
        )

    def text(self) -> str:
        """The table in fixed-width characters; the first line is '[nbpeft] ' and the title.

        All further lines are indented, so no cell can pass for a line of nbpeft's own.
        """
        whole = [self._plain(row) for row in (self.header, *self.rows) if not self._heads(row)]
        widths = column_widths(whole, _TEXT_WIDTH - len(_GAP) * len(self.header))
        lines = [f"[nbpeft] {plain(self.title, self.limit, one_line=True)}"]
        if any(self.header):
            lines += self._row_text(self.header, widths)
            lines.append(_GAP + _GAP.join("─" * columns for columns in widths))
        for row in self.rows:
            heads = self._heads(row)
            lines += self._heading_text(str(row[0])) if heads else self._row_text(row, widths)
        for note in self._plain(self.notes):
            lines += [_GAP + line for line in wrapped(note, _TEXT_WIDTH - len(_GAP))]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self.text(), "text/html": self.html()}

    def _heads(self, row: tuple[Cell, ...]) -> bool:
        return len(row) == 1 < len(self.header)

    def _align(self, column: int) -> Align:
        return self.align[column] if column < len(self.align) else "left"

    def _plain(self, cells: Iterable[Cell]) -> list[str]:
        return [
            cell.plain(self.limit) if isinstance(cell, Marked) else plain(cell, self.limit)
            for cell in cells
        ]

    def _row_text(self, row: tuple[Cell, ...], widths: list[int]) -> list[str]:
        columns = [wrapped(c, max(1, w)) for c, w in zip(self._plain(row), widths, strict=True)]
        return [
            _GAP
            + _GAP.join(padded(piece, widths[i], self._align(i)) for i, piece in enumerate(pieces))
            for pieces in zip_longest(*columns, fillvalue="")
        ]

    def _heading_text(self, heading: str) -> list[str]:
        safe = plain(heading, self.limit, one_line=True)
        return ["", *(_GAP + line for line in wrapped(safe, _TEXT_WIDTH - len(_GAP)))]

    def _row_html(self, row: tuple[Cell, ...]) -> str:
        if self._heads(row):
            return self._cell_html("th", row[0], 0, f' colspan="{len(self.header)}"')
        return "".join(self._cell_html("td", cell, i) for i, cell in enumerate(row))

    def _cell_html(self, tag: str, cell: Cell, column: int, span: str = "") -> str:
        style = (
            f"text-align: {self._align(column)}; vertical-align: top; "
            f"white-space: pre-wrap; padding: 0.3em 0.8em; border-bottom: {_LINE}"
        )
        # Only where a word is too long for a column: else short columns next to long ones are
        # squeezed to a letter's width.
        shown = str(cell)[: self.limit]
        if any(len(word) > _LONG_WORD for word in shown.split()):
            style += "; overflow-wrap: anywhere; min-width: 8em"
        safe = cell.html(self.limit) if isinstance(cell, Marked) else escape(cell, self.limit)
        return f'<{tag}{span} dir="auto" style="{style}">{safe}</{tag}>'
