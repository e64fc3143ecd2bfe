"""Some rows of a data set, tokenized as a run would and shown token by token."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from nbpeft.data.looking.pieces import pieces
from nbpeft.data.splitting.parts import Part
from nbpeft.data.tokens.counts import Counts, together
from nbpeft.data.tokens.encode import ends_of
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.masks import Encoder
from nbpeft.data.tokens.rendering import Rendering
from nbpeft.data.tokens.row import NOT_TRAINED, Row
from nbpeft.rendering import TokenRow, count
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 100


class Shower:
    """Tokenizes rows of some parts by their places, counted from 0 over all of them."""

    def __init__(
        self,
        parts: Sequence[Part],
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        max_length: int,
        loss_on: LossOn,
    ) -> None:
        self._parts = parts
        self._starts = [0, *accumulate(map(len, parts))]
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._encoders, self._again = (
            [Encoder(tokenizer, rendering, max_length, part.label, loss_on) for part in parts]
            for _ in range(2)  # the counts of the second are of rows that were counted before
        )

    @property
    def counts(self) -> Counts:
        """Over the rows whose lengths were asked for."""
        return together([e.counts for e in self._encoders], [part.label for part in self._parts])

    @property
    def ends(self) -> Ends:
        """How answers end."""
        return ends_of(self._encoders)

    def lengths(self, places: Sequence[int]) -> list[int]:
        """Tokens of each row (`Row.length`), before cutting; places rise. The rows are counted."""
        lengths = []
        for index, encoder in enumerate(self._encoders):
            own = [place for place in places if self._part_of(place) == index]
            for start in range(0, len(own), AT_ONCE):
                some = own[start : start + AT_ONCE]
                numbers = [self._number(place) for place in some]
                for number, row in zip(numbers, self._rows(encoder, some), strict=True):
                    encoder.count([row], number)
                    lengths.append(row.length)
        return lengths

    def shown(self, place: int, why: str) -> TokenRow:
        """A row token by token; `why` it was chosen."""
        index = self._part_of(place)
        encoder = self._again[index]
        [row] = self._rows(encoder, [place])
        labels = row.labels(self._max_length)
        trained = len(labels) - labels.count(None) - labels.count(NOT_TRAINED)
        of = f" of {self._parts[index].label}" if len(self._parts) > 1 else ""
        length = f"{count(len(row.ids))} tokens, {count(trained)} trained"
        return TokenRow(
            title=f"row {self._number(place)}{of}{why}: {length}",
            tokens=pieces(self._tokenizer, row.ids, labels),
            note=_end(encoder, row, labels),
        )

    def _part_of(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def _number(self, place: int) -> int:
        """The number that the user knows a row by."""
        index = self._part_of(place)
        return self._parts[index].numbers[place - self._starts[index]]

    def _rows(self, encoder: Encoder, places: Sequence[int]) -> list[Row]:
        """Rows of one part."""
        index = self._part_of(places[0])
        part, start = self._parts[index], self._starts[index]
        examples = [part.example_of(part.dataset[place - start]) for place in places]
        written = encoder.written(examples, [self._number(place) for place in places])
        return [row for [row] in written]


def _end(encoder: Encoder, row: Row, labels: Sequence[int | None]) -> str:
    """Whether the end token of a row is trained, in a line."""
    shown = encoder.ends.shown
    if not shown:
        return "The tokenizer has no end token: none is trained."
    ended, answers = encoder.ended(row, labels), len(row.answers)
    cut = ""
    if None in labels[-1:]:
        kept = labels[row.apart or 0 :]
        what = "row" if row.apart is None else "answer"
        cut = f": the {what} is cut at {count(len(kept) - kept.count(None))} tokens"
    if not ended:
        return f"The end token {shown} is not trained{cut}."
    of = f" after {ended} of {answers} answers" if answers > 1 else ""
    return f"The end token {shown} is trained{of}{cut if ended < answers else ''}."
