"""What is to be scored, as text and as tokens: lines that were typed, or rows of data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.data.finding.sources import Source
from nbpeft.data.reading.checks import check_rows
from nbpeft.data.reading.detect import choose
from nbpeft.data.reading.examples import (
    Chat,
    Example,
    Labelled,
    Pair,
    Preference,
    Text,
    Written,
    texts_of,
)
from nbpeft.data.reading.formats import SFT
from nbpeft.data.reading.shapes import Reading
from nbpeft.data.tokens.masks import Encoder
from nbpeft.data.tokens.rendering import Rendering, encode, frame, undisturbed
from nbpeft.errors import DataError
from nbpeft.quiet import quiet

if TYPE_CHECKING:
    from datasets import Dataset

LABELLED, PLAIN, PAIRS = ("labelled",), ("text",), ("preference",)
"""Formats that a classifier reads, and those of answers side by side."""


@dataclass(frozen=True)
class Item:
    """A text to score, or the two answers of a pair."""

    shown: tuple[str, ...]
    """Of each text what is shown."""
    ids: tuple[list[int], ...]
    """Of each text its tokens, as in training."""
    label: str | None = None
    """The label that the data have for it."""


@dataclass(frozen=True)
class Writing:
    """How texts are written for an adapter."""

    tokenizer: Any
    rendering: Rendering
    max_length: int
    classes: bool
    """Whether it tells labels apart; else it scores."""

    def items(
        self, source: Source, columns: Mapping[str, str] | None, count: int | None, *, pairs: bool
    ) -> list[Item]:
        """The first rows of a source, or all.

        Raises:
            DataError: no format fits, or a row can't be read.
        """
        rows: Dataset = source.dataset.with_format(None)
        rows = rows.select(range(min(len(rows), count or len(rows))))
        reading = self._reading(rows, columns, source.label, pairs=pairs)
        check_rows(rows, reading, source.label)
        examples = [reading.example(row) for row in rows]
        with undisturbed(self.tokenizer), quiet():
            written = self._classed if self.classes else self._written(source.label)
            return [written(example, number) for number, example in enumerate(examples)]

    def _reading(
        self, rows: Dataset, columns: Mapping[str, str] | None, label: str, *, pairs: bool
    ) -> Reading:
        if pairs:
            return choose(rows, PAIRS, columns, label)
        if not self.classes:
            return choose(rows, SFT, columns, label)
        with contextlib.suppress(DataError):  # texts without labels are as good
            return choose(rows, LABELLED, columns, label)
        return choose(rows, PLAIN, columns, label)

    def _classed(self, example: Example, number: int) -> Item:
        """A text in the tokenizer's own frame, nothing after it."""
        assert isinstance(example, Text | Labelled)
        before, after = frame(self.tokenizer)
        ids = encode(self.tokenizer, [example.text])["input_ids"][0]
        room = max(0, self.max_length - len(before) - len(after))
        label = str(example.label) if isinstance(example, Labelled) else None
        return Item((example.text,), ([*before, *ids[:room], *after],), label)

    def _written(self, label: str) -> Callable[[Example, int], Item]:
        """Prompts and answers as in training; raw text as it stands."""

        def written(example: Example, number: int) -> Item:
            texts = texts_of(example)
            rows = [self._encoder(text, label).rows([text], [number])[0] for text in texts]
            ids = tuple(row.ids[: self.max_length] for row in rows)
            return Item(tuple(_shown(text) for text in _answers(example, texts)), ids)

        return written

    def _encoder(self, text: Written, label: str) -> Encoder:
        rendering = self.rendering
        if isinstance(text, Text):
            rendering = Rendering("text")
        elif rendering.kind == "text":
            rendering = Rendering("join")
        return Encoder(self.tokenizer, rendering, self.max_length, label)


def _answers(example: Example, texts: Sequence[Written]) -> Sequence[Any]:
    """Of a pair of answers these alone: their prompt is one."""
    return (example.chosen, example.rejected) if isinstance(example, Preference) else texts


def _shown(text: Any) -> str:
    if isinstance(text, Text):
        return text.text
    if isinstance(text, Pair):
        return f"{text.prompt} {text.completion}"
    if isinstance(text, str):
        return text
    messages = text.messages if isinstance(text, Chat) else text
    return "\n".join(str(message.get("content") or "") for message in messages)
