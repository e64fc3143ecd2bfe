"""A look at data as a run would train on it, before any run: lengths, masks, and rows as tokens."""

from __future__ import annotations

import secrets
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.data.answers import Counts
from nbpeft.data.checks import check_rows
from nbpeft.data.detect import choose
from nbpeft.data.formats import SFT, Reading
from nbpeft.data.gate import refused
from nbpeft.data.masks import NOT_TRAINED, Encoder, Row
from nbpeft.data.notes import notes_of
from nbpeft.data.pieces import pieces
from nbpeft.data.rendering import rendering_of, undisturbed
from nbpeft.data.sources import Source
from nbpeft.data.split import some_of
from nbpeft.errors import DataError, quoted
from nbpeft.quiet import quiet
from nbpeft.rendering import (
    WIDTH,
    Table,
    TokenRow,
    count,
    histogram_png,
    percent,
    plain,
    tokens_html,
    tokens_text,
)
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

MOST = 2_000
"""Rows that are tokenized; of more, as many are drawn, the same each time."""
AT_ONCE = 100


@dataclass(frozen=True)
class Look:
    """What `%peft_data` shows: figures, the rows' lengths, and some rows token by token."""

    label: str
    rows: int
    lengths: tuple[int, ...]
    """Tokens of each row that was tokenized, before cutting."""
    max_length: int
    tokens: int
    """Of those rows, after cutting."""
    trained_tokens: int
    figures: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    refusal: str | None
    """Why a run on these rows would refuse to start; None where it may."""
    shown: tuple[TokenRow, ...]

    def table(self) -> Table:
        """The figures."""
        refusal = (f"A run refuses to start: {self.refusal}",) if self.refusal else ()
        return Table(
            title=f"data {self.label}", header=("", ""), rows=self.figures,
            notes=(*refusal, *self.notes),
        )  # fmt: skip

    def histogram(self) -> bytes:
        """The lengths of the rows, as a PNG."""
        return histogram_png(self.lengths, self.max_length, f"tokens a row of {self.label}")

    def __repr__(self) -> str:
        return f"{self.table().text()}\n{tokens_text(self.shown)}"

    def _ipython_display_(self) -> None:
        """Three displays, as a frontend shows one MIME type of each: figures, picture, rows.

        The PNG as an `<img>` within HTML would not survive in an untrusted notebook.
        """
        from IPython.display import display

        picture = {
            "text/plain": plain(f"[nbpeft] tokens a row of {self.label}", one_line=True),
            "image/png": self.histogram(),
        }
        rows = {"text/plain": tokens_text(self.shown), "text/html": tokens_html(self.shown)}
        display(self.table()._repr_mimebundle_(), raw=True)
        display(picture, raw=True, metadata={"image/png": {"width": WIDTH}})
        display(rows, raw=True)


def look(
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    *,
    formats: tuple[str, ...] = SFT,
    columns: Mapping[str, str] | None = None,
    max_length: int,
    loss_on: LossOn = "answers",
    rows: Sequence[int] | None = None,
) -> Look:
    """Check every row, tokenize at most MOST of them as a run would, and show some.

    Args:
        source, formats, columns, max_length, loss_on: as `tokenize` takes them.
        rows: numbers of rows to show; None for the first, one of median length and the longest.

    Raises:
        DataError: as `tokenize`, but for rows that could be read and not trained on: that is told.
    """
    total = len(source.dataset)
    if not total:
        raise DataError(f"{quoted(source.label)} has no rows.")
    for number in rows or ():
        if not 0 <= number < total:
            raise DataError(
                f"rows: {quoted(source.label)} has the rows 0 to {total - 1:,}, not {number}."
            )
    found = source.dataset.column_names
    reading = choose(source.dataset, formats, columns, source.label)
    check_rows(source.dataset, reading, source.label)
    numbers = range(total) if total <= MOST else some_of(total, MOST)
    looker = _Looker(source, reading, tokenizer, max_length, loss_on)
    with undisturbed(tokenizer), quiet():
        lengths = looker.lengths(numbers)
        chosen = dict.fromkeys(rows, "") if rows else _telling(numbers, lengths)
        shown = tuple(looker.shown(number, why) for number, why in chosen.items())
    counts, ends = looker.encoder.counts, looker.encoder.ends
    asked = "raw text" if looker.rendering.kind == "text" else f"--loss-on {loss_on}"
    notes = notes_of(
        looker.rendering, reading, tokenizer,
        train=counts, held_out=None, max_length=max_length, loss_on=loss_on,
    )  # fmt: skip
    if len(numbers) < total:
        drawn = f"{count(len(numbers))} of the {count(total)} rows"
        notes.insert(0, f"tokenized are {drawn}, the same each time; all of them were checked")
    return Look(
        label=source.label,
        rows=total,
        lengths=tuple(lengths),
        max_length=max_length,
        tokens=counts.tokens,
        trained_tokens=counts.trained_tokens,
        figures=(
            ("format", reading.format.name),
            ("rows", count(total)),
            *_figures(counts, ends.shown, lengths, max_length, asked),
        ),
        notes=(*source.notes, reading.note(found), *notes),
        refusal=refused(looker.rendering, counts, ends, source.label, max_length),
        shown=shown,
    )


def _figures(
    counts: Counts, end: str, lengths: Sequence[int], max_length: int, asked: str
) -> Iterator[tuple[str, str]]:
    """What was counted over the tokenized rows."""
    of = f"of {count(len(lengths))} rows"
    middle = count(round(statistics.median(lengths)))
    share = percent(100 * counts.trained_tokens / max(1, counts.tokens))
    yield "tokens a row", f"{count(min(lengths))} to {count(max(lengths))}, median {middle}"
    yield "trained tokens", f"{share} of {count(counts.tokens)} ({asked})"
    yield f"end token {end}".strip(), f"trained in {count(counts.ended)} {of}"
    yield f"over {count(max_length)} tokens", f"{count(counts.cut)} {of} (--max-length)"


class _Looker:
    """Tokenizes rows of one source by their numbers."""

    def __init__(
        self,
        source: Source,
        reading: Reading,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        loss_on: LossOn,
    ) -> None:
        used = list(dict.fromkeys(reading.columns.values()))
        # A fingerprint is given because datasets would otherwise hash the rows for one, slowly.
        self._dataset: Dataset = source.dataset.with_format(None).select_columns(
            used, new_fingerprint=secrets.token_hex(8)
        )
        self._reading = reading
        self._tokenizer = tokenizer
        self._max_length = max_length
        with undisturbed(tokenizer):
            self.rendering = rendering_of(reading.example(self._dataset[0]), tokenizer)
            self.encoder = Encoder(tokenizer, self.rendering, max_length, source.label, loss_on)
            # Its counts are of rows that were counted before.
            self._again = Encoder(tokenizer, self.rendering, max_length, source.label, loss_on)

    def lengths(self, numbers: Sequence[int]) -> list[int]:
        """Tokens of each row, before cutting; the encoder counts the rest."""
        lengths = []
        for start in range(0, len(numbers), AT_ONCE):
            some = numbers[start : start + AT_ONCE]
            for number, row in zip(some, self._rows(self.encoder, some), strict=True):
                self.encoder.count(row, number)
                lengths.append(len(row.ids))
        return lengths

    def shown(self, number: int, why: str) -> TokenRow:
        """A row token by token; `why` it was chosen."""
        [row] = self._rows(self._again, [number])
        labels = row.labels(self._max_length)
        trained = len(labels) - labels.count(NOT_TRAINED)
        length = f"{count(len(row.ids))} tokens, {count(trained)} trained"
        return TokenRow(
            title=f"row {number}{why}: {length}",
            tokens=pieces(self._tokenizer, row.ids, labels),
            note=self._end(row, labels),
        )

    def _rows(self, encoder: Encoder, numbers: Sequence[int]) -> list[Row]:
        examples = [self._reading.example(self._dataset[number]) for number in numbers]
        return encoder.rows(examples, numbers)

    def _end(self, row: Row, labels: list[int]) -> str:
        """Whether the end token is trained, in a line."""
        shown = self._again.ends.shown
        if not shown:
            return "The tokenizer has no end token: none is trained."
        ended, answers = self._again.ended(row, labels), len(row.answers)
        cut = (
            f": the row is cut at {count(len(labels))} tokens" if len(labels) < len(row.ids) else ""
        )
        if not ended:
            return f"The end token {shown} is not trained{cut}."
        of = f" after {ended} of {answers} answers" if answers > 1 else ""
        return f"The end token {shown} is trained{of}{cut if ended < answers else ''}."


def _telling(numbers: Sequence[int], lengths: Sequence[int]) -> dict[int, str]:
    """Three rows that tell most: number -> why."""
    if len(numbers) <= 3:
        return dict.fromkeys(numbers, "")
    order = sorted(range(len(numbers)), key=lambda place: lengths[place])
    chosen = {numbers[order[-1]]: " (the longest)", numbers[order[len(order) // 2]]: " (median)"}
    return dict(sorted(({numbers[0]: ""} | chosen).items()))
