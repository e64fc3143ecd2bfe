"""Texts joined, and cut into blocks of one length."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.examples import Example
from nbpeft.data.tokens.masks import Encoder
from nbpeft.data.tokens.rendering import Rendering
from nbpeft.data.tokens.row import NOT_TRAINED, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class BlockEncoder(Encoder):
    """Turns texts into blocks; what doesn't fill one waits for the texts that come."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        length: int,
        label: str,
    ) -> None:
        """Makes an encoder of blocks of `length` tokens."""
        super().__init__(tokenizer, rendering, sys.maxsize, label, "all")
        self._length = length
        self._waiting: list[int] = []

    def batch(self, examples: list[Example], numbers: Sequence[int]) -> list[dict[str, Any]]:
        """input_ids and labels of the blocks that are full."""
        for [row] in self.written(examples, numbers):
            self._waiting += row.ids
        full = len(self._waiting) // self._length * self._length
        return list(self._blocks(full))

    def rest(self) -> list[dict[str, Any]]:
        """The last block, which may be shorter."""
        return list(self._blocks(len(self._waiting)))

    def written(self, examples: list[Example], numbers: Sequence[int]) -> list[list[Row]]:
        """The texts, each trained from its first token on: another text comes before it."""
        return [[replace(row, first=0)] for [row] in super().written(examples, numbers)]

    def _blocks(self, tokens: int) -> Iterator[dict[str, Any]]:
        """So many of the waiting tokens as blocks; the first of one has nothing to be told by."""
        ready, self._waiting = self._waiting[:tokens], self._waiting[tokens:]
        for start in range(0, tokens, self._length):
            ids = ready[start : start + self._length]
            if len(ids) > 1:
                self.counts.rows += 1
                self.counts.tokens += len(ids)
                self.counts.trained_tokens += len(ids) - 1
                yield {"input_ids": ids, "labels": [NOT_TRAINED, *ids[1:]]}
