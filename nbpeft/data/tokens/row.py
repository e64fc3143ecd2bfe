"""A row as token ids and labels, where only what is to be trained has a label.

A label is the token itself where it is trained and -100 where it isn't. The first token of a row
never has one: nothing comes before it to predict it from. An encoder-decoder's row is two texts
(see `sides`), of which the answer is trained whole: its decoder begins with a token of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from nbpeft.data.tokens.marks import Span

NOT_TRAINED = -100


@dataclass(frozen=True)
class Row:
    """A row before it is cut."""

    ids: list[int]
    answers: list[Span]
    """Spans of tokens, first to past the last; each with its end token."""
    trained: list[Span]
    """Likewise; all of the row, or its answers."""
    apart: int | None = None
    """Of an encoder-decoder: where the answer begins, a text of its own. None for one text."""
    first: int = 1
    """The first token that can be trained; where nothing comes before, the second."""
    tail: int = 0
    """Of an encoder-decoder: tokens at the prompt's end that stay when it is cut."""

    @property
    def length(self) -> int:
        """Tokens of the row, or of the longer of its two texts."""
        if self.apart is None:
            return len(self.ids)
        return max(self.apart, len(self.ids) - self.apart)

    def labels(self, length: int) -> list[int | None]:
        """Of every token its label; None where it is cut off, each text to `length` tokens."""
        labels: list[int | None] = [NOT_TRAINED] * len(self.ids)
        for begin, stop in self.trained:
            start = max(begin, self.first)
            labels[start:stop] = self.ids[start:stop]
        for start, stop in self._cut(length):
            labels[start:stop] = [None] * (stop - start)
        return labels

    def columns(self, labels: list[int | None]) -> tuple[list[int], list[int]]:
        """(input_ids, labels) without what is cut off."""
        if self.apart is None:
            kept = len(labels) - labels.count(None)
            return self.ids[:kept], cast("list[int]", labels[:kept])
        read = [
            token
            for token, label in zip(self.ids[: self.apart], labels, strict=False)
            if label is not None
        ]
        return read, [label for label in labels[self.apart :] if label is not None]

    def _cut(self, length: int) -> list[Span]:
        if self.apart is None:
            spans = [(length, len(self.ids))]
        else:
            kept = max(0, length - self.tail)
            spans = [(kept, self.apart - self.tail), (self.apart + length, len(self.ids))]
        return [(start, stop) for start, stop in spans if start < stop]
