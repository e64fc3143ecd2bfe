"""Texts with marked parts: the words of an answer that the base didn't say, and such.

A marked text is made of plain spans; what a mark looks like is decided here, and each span is made
safe here, so a caller can neither pass HTML through nor forget to escape.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from nbpeft.rendering.escaping import LIMIT, escape, plain

Mark = Literal["", "strong", "light"]

# Without colours of the page's own, so both read in light and dark; where styles are taken out
# (GitHub), <ins> is still underlined and <i> still slanted. All pass JupyterLab's sanitizer.
_HTML = {
    "": ("", ""),
    "strong": ('<ins style="font-weight: bold; text-decoration: underline">', "</ins>"),
    "light": ('<i style="color: #808080">', "</i>"),
}
_TEXT = {"": ("", ""), "strong": ("*", "*"), "light": ("(", ")")}

# A word is a run of letters and digits; scripts without spaces are compared letter by letter.
_ONE_BY_ONE = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORDS = re.compile(rf"[{_ONE_BY_ONE}]|[^\W{_ONE_BY_ONE}]+|[^\w\s]|\s+")


@dataclass(frozen=True)
class Span:
    """A piece of text, and how it is marked."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Marked:
    """A text of which parts are marked; a cell of a `Table`."""

    spans: tuple[Span, ...]

    def __str__(self) -> str:
        return "".join(span.text for span in self.spans)

    def html(self, limit: int = LIMIT) -> str:
        """As the content of an HTML element: inert, and cut at `limit` characters."""
        return "".join(
            _HTML[span.mark][0] + escape(span.text, len(span.text)) + _HTML[span.mark][1]
            for span in self._cut(limit)
        )

    def plain(self, limit: int = LIMIT) -> str:
        """For a terminal: inert, cut, strong parts as *words*, light ones in brackets."""
        return "".join(
            _TEXT[span.mark][0] + plain(span.text, len(span.text)) + _TEXT[span.mark][1]
            for span in self._cut(limit)
        )

    def _cut(self, limit: int) -> list[Span]:
        kept, left = [], limit
        for span in self.spans:
            if left > 0:
                kept.append(Span(span.text[:left], span.mark))
            left -= len(span.text)
        return [*kept, Span(f"… ({-left:,} more characters)")] if left < 0 else kept


def light(text: str) -> Marked:
    """A remark that isn't itself the answer."""
    return Marked((Span(text, "light"),))


def differences(text: str, reference: str, limit: int = LIMIT) -> Marked:
    """`text` with the words marked that differ from `reference` (difflib, word by word).

    White space doesn't count. Only what a cell shows, the first `limit` characters, is compared.
    """
    words = _words(text[:limit])
    theirs = [word for word in _words(reference[: 2 * limit]) if not word.isspace()]
    places = [i for i, word in enumerate(words) if not word.isspace()]
    matcher = difflib.SequenceMatcher(None, theirs, [words[i] for i in places], autojunk=False)
    strong: set[int] = set()
    for tag, _, _, start, end in matcher.get_opcodes():
        if tag in ("replace", "insert"):
            # The space between two marked words is theirs.
            strong.update(range(places[start], places[end - 1] + 1))
    return Marked((*_joined(words, strong), *([Span(text[limit:])] if len(text) > limit else [])))


def _words(text: str) -> list[str]:
    return _WORDS.findall(text)


def _joined(words: list[str], strong: set[int]) -> list[Span]:
    spans: list[Span] = []
    for i, word in enumerate(words):
        mark: Mark = "strong" if i in strong else ""
        if spans and spans[-1].mark == mark:
            spans[-1] = Span(spans[-1].text + word, mark)
        else:
            spans.append(Span(word, mark))
    return spans
