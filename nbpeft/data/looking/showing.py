"""Some rows of a data set, tokenized as a run would and shown token by token."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from nbpeft.data.looking.pieces import pieces
from nbpeft.data.reading.examples import Asked, Example, Labelled, Preference, Rating
from nbpeft.data.splitting.parts import Part
from nbpeft.data.tokens.counts import Counts, together
from nbpeft.data.tokens.encode import Encodes, ends_of
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.row import NOT_TRAINED, Row
from nbpeft.rendering import TokenRow, count

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 100


class Shower:
    """Tokenizes rows of some parts by their places, counted from 0 over all of them."""

    def __init__(
        self,
        parts: Sequence[Part],
        tokenizer: PreTrainedTokenizerBase,
        encoder_of: Callable[[Part], Encodes],
    ) -> None:
        self._parts = parts
        self._starts = [0, *accumulate(map(len, parts))]
        self._tokenizer = tokenizer
        self._encoders, self._again = (
            [encoder_of(part) for part in parts]
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
        """Tokens of each row's longest text, before cutting; places rise. The rows are counted."""
        lengths = []
        for index, encoder in enumerate(self._encoders):
            own = [place for place in places if self._part_of(place) == index]
            for start in range(0, len(own), AT_ONCE):
                some = own[start : start + AT_ONCE]
                numbers = [self._number(place) for place in some]
                for number, (example, rows) in zip(numbers, self._rows(encoder, some), strict=True):
                    encoder.count(rows, number)
                    encoder.counts.good += isinstance(example, Rating) and example.good
                    lengths.append(max(row.length for row in rows))
        return lengths

    def shown(self, place: int, why: str) -> list[TokenRow]:
        """A row token by token, each of its texts; `why` it was chosen."""
        index = self._part_of(place)
        encoder = self._again[index]
        of = f" of {self._parts[index].label}" if len(self._parts) > 1 else ""
        who = f"row {self._number(place)}{of}{why}"
        [(example, rows)] = self._rows(encoder, [place])
        return [
            self._token_row(encoder, row, f"{who}{side}")
            for row, side in zip(rows, sides_of(example), strict=True)
        ]

    def places(self, number: int) -> list[int]:
        """Where the row of this number stands, in the only part; in none, or in several pairs."""
        [part] = self._parts
        return [place for place, own in enumerate(part.numbers) if own == number]

    def _token_row(self, encoder: Encodes, row: Row, who: str) -> TokenRow:
        labels = row.labels(encoder.room)
        trained = len(labels) - labels.count(None) - labels.count(NOT_TRAINED)
        share = f", {count(trained)} trained" if row.trained else ""
        return TokenRow(
            title=f"{who}: {count(len(row.ids))} tokens{share}",
            tokens=pieces(self._tokenizer, row.ids, labels),
            note=encoder.remark(row, labels),
        )

    def _part_of(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def _number(self, place: int) -> int:
        """The number that the user knows a row by."""
        index = self._part_of(place)
        return self._parts[index].numbers[place - self._starts[index]]

    def _rows(self, encoder: Encodes, places: Sequence[int]) -> list[tuple[Example, list[Row]]]:
        """Rows of one part, each read and as tokens."""
        index = self._part_of(places[0])
        part, start = self._parts[index], self._starts[index]
        examples = [part.example_of(part.dataset[place - start]) for place in places]
        written = encoder.written(examples, [self._number(place) for place in places])
        return list(zip(examples, written, strict=True))


def sides_of(example: Example) -> tuple[str, ...]:
    """What each text of an example is, for the line above it."""
    if isinstance(example, Preference):
        return ", chosen", ", rejected"
    if isinstance(example, Rating):
        return (", thumb up" if example.good else ", thumb down",)
    if isinstance(example, Labelled):
        return (f", label {example.label}",)
    if isinstance(example, Asked):
        return (", the prompt",)
    return ("",)
