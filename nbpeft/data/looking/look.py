"""A look at data as a run would train on it, before any run: lengths, masks, and rows as tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.data.finding.mix import Mix
from nbpeft.data.finding.sources import Source
from nbpeft.data.looking.showing import Shower
from nbpeft.data.reading.shapes import shown as shown_name
from nbpeft.data.signals import Answers, Signal
from nbpeft.data.splitting.findings import found_copies, notes_on_copies, notes_on_reading
from nbpeft.data.splitting.parts import Parts, split
from nbpeft.data.splitting.split import some_of
from nbpeft.data.tokens.rendering import undisturbed
from nbpeft.errors import DataError, listed, quoted
from nbpeft.quiet import quiet
from nbpeft.rendering import (
    WIDTH,
    Table,
    TokenRow,
    count,
    histogram_png,
    plain,
    tokens_html,
    tokens_text,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST = 2_000
"""Rows that are tokenized; of more, as many are drawn, the same each time."""
TITLED = 28
"""Characters of a name that fit beside the picture's legend; of a path, the end tells most."""


@dataclass(frozen=True)
class Look:
    """What `%peft_data` shows: figures, the rows' lengths, and some rows token by token."""

    label: str
    rows: int
    lengths: tuple[int, ...]
    """Tokens of each row that was tokenized, before cutting; for an encoder-decoder those of the
    longer of its prompt and its answer."""
    max_length: int
    tokens: int
    """Of those rows, after cutting."""
    trained_tokens: int
    figures: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    refusal: str | None
    """Why a run on these rows would refuse to start; None where it may."""
    shown: tuple[TokenRow, ...]
    unit: str = "tokens a row"
    """What `lengths` counts."""

    def table(self) -> Table:
        """The figures."""
        refusal = (f"A run refuses to start: {self.refusal}",) if self.refusal else ()
        return Table(
            title=f"data {self.label}", header=("", ""), rows=self.figures,
            notes=(*refusal, *self.notes),
        )  # fmt: skip

    def histogram(self) -> bytes:
        """The lengths of the rows, as a PNG."""
        label = self.label if len(self.label) <= TITLED else f"…{self.label[1 - TITLED :]}"
        return histogram_png(self.lengths, self.max_length, f"{self.unit} of {label}")

    def __repr__(self) -> str:
        return f"{self.table().text()}\n{tokens_text(self.shown)}"

    def _ipython_display_(self) -> None:
        """Three displays, as a frontend shows one MIME type of each: figures, picture, rows.

        The PNG as an `<img>` within HTML would not survive in an untrusted notebook.
        """
        from IPython.display import display

        picture = {
            "text/plain": plain(f"[nbpeft] {self.unit} of {self.label}", one_line=True),
            "image/png": self.histogram(),
        }
        rows = {"text/plain": tokens_text(self.shown), "text/html": tokens_html(self.shown)}
        display(self.table()._repr_mimebundle_(), raw=True)
        display(picture, raw=True, metadata={"image/png": {"width": WIDTH}})
        display(rows, raw=True)


def look(
    source: Source | Mix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    signal: Signal = Answers(),  # noqa: B008  it holds nothing that changes
    columns: Mapping[str, str] | None = None,
    eval: Source | Mix | None = None,
    max_length: int,
    rows: Sequence[int] | None = None,
) -> Look:
    """Check every row, tokenize at most MOST of them as a run would, and show some.

    Args:
        source, columns, eval, max_length: as `tokenize` takes them. Of one source all rows are
            looked at; what a run would hold out of it is not left out.
        signal: what is learned from the rows.
        rows: numbers of rows to show, of one source; None for the first, one of median length and
            the longest.

    Raises:
        DataError: as `tokenize`, but for rows that could be read and not trained on: that is told.
    """
    _check_numbers(rows, source)
    parts = split(source, signal.formats, columns, _held_out_with(source, eval), signal.converted)
    signal.check(parts)
    rendering = signal.rendering(parts, tokenizer)
    total = sum(map(len, parts.train))
    places = range(total) if total <= MOST else some_of(total, MOST)
    with undisturbed(tokenizer), quiet():
        encoder_of = signal.encoders(parts, tokenizer, rendering, max_length)
        shower = Shower(parts.train, tokenizer, encoder_of)
        lengths = shower.lengths(places)
        chosen = _asked_for(rows, shower, source) if rows else _telling(places, lengths)
        shown = [row for place, why in chosen.items() for row in shower.shown(place, why)]
    counts, ends = shower.counts, shower.ends
    notes = signal.notes(
        rendering, parts, tokenizer, train=counts, held_out=None, max_length=max_length
    )
    if len(places) < total:
        drawn = f"{count(len(places))} of the {count(total)} rows"
        notes.insert(0, f"tokenized are {drawn}, the same each time; all of them were checked")
    return Look(
        label=source.label,
        rows=total,
        lengths=tuple(lengths),
        max_length=max_length,
        tokens=counts.tokens,
        trained_tokens=counts.trained_tokens,
        figures=(
            ("format", listed(dict.fromkeys(p.reading.format.name for p in parts.train), limit=5)),
            ("rows", count(total)),
            *_copies(parts),
            *signal.figures(rendering, counts, ends, lengths, max_length),
        ),
        notes=(*source.notes, *notes_on_reading(parts.train), *notes_on_copies(parts), *notes),
        refusal=signal.refusal(rendering, counts, ends, source.label, max_length),
        shown=tuple(shown),
        unit=signal.unit,
    )


def _asked_for(rows: Sequence[int], shower: Shower, source: Source | Mix) -> dict[int, str]:
    """Where the rows of these numbers stand."""
    places: dict[int, str] = {}
    for number in rows:
        found = shower.places(number)
        if not found:
            raise DataError(
                f"rows: of row {number} of {quoted(source.label)} nothing is made, so there is "
                "nothing to show; leave it out."
            )
        places |= dict.fromkeys(found, "")
    return places


def _check_numbers(rows: Sequence[int] | None, source: Source | Mix) -> None:
    if not rows:
        return
    if isinstance(source, Mix):
        raise DataError(
            "rows: in a mix there is more than one row of a number; look at one source at a time, "
            f"%peft_data {shown_name(source.sources[0].label)} --rows {rows[0]}."
        )
    total = len(source.dataset)
    for number in rows:
        if total and not 0 <= number < total:
            raise DataError(
                f"rows: {quoted(source.label)} has the rows 0 to {total - 1:,}, not {number}."
            )


def _held_out_with(source: Source | Mix, eval: Source | Mix | None) -> Source | Mix | int | None:
    """What `split` holds out: rows of their own only, so that all of the source is looked at."""
    brought = isinstance(source, Source) and source.held_out
    return eval if eval is not None or brought else 0


def _copies(parts: Parts) -> Iterator[tuple[str, str]]:
    """Rows that stand there twice, in figures."""
    twice, both = found_copies(parts)
    yield "copies", f"{count(twice)} of {count(sum(map(len, parts.train)))} rows"
    if parts.held_out:
        yield (
            "held out",
            f"{count(sum(map(len, parts.held_out)))} rows, {count(both)} trained on, too",
        )


def _telling(places: Sequence[int], lengths: Sequence[int]) -> dict[int, str]:
    """Three rows that tell most: place -> why."""
    if len(places) <= 3:
        return dict.fromkeys(places, "")
    order = sorted(range(len(places)), key=lambda place: lengths[place])
    chosen = {places[order[-1]]: " (the longest)", places[order[len(order) // 2]]: " (median)"}
    return dict(sorted(({places[0]: ""} | chosen).items()))
