"""Which rows are trained on and which are held out, over one source or a mix of several."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nbpeft.data.finding.mix import Mix
from nbpeft.data.finding.sources import Source
from nbpeft.data.reading.checks import ROWS_AT_ONCE, check_rows
from nbpeft.data.reading.detect import choose
from nbpeft.data.reading.examples import Chat, Example, Text, Written, texts_of
from nbpeft.data.reading.recipes import Origin
from nbpeft.data.reading.shapes import Reading
from nbpeft.data.splitting.copies import keys_of
from nbpeft.data.splitting.split import MOST, held_out_count, held_out_rows, quotas, some_of
from nbpeft.errors import DataError, quoted

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of one source, with the numbers that the user knows them by."""

    dataset: Dataset
    """The columns that the reading uses."""
    reading: Reading
    numbers: Sequence[int]
    label: str
    keys: NDArray[np.uint64]
    """Of each row; copies share theirs."""
    groups: NDArray[np.uint64]
    """Of each row; rows of one prompt share theirs, and are held out together."""
    origin: Origin | None
    found: tuple[str, ...]
    """All the columns that the source has."""

    def __len__(self) -> int:
        return len(self.numbers)

    def examples(self, count: int) -> list[Example]:
        """The first `count` rows, read."""
        return [self.reading.example(row) for row in self.dataset.select(range(count))]

    def some(self, places: Sequence[int]) -> Part:
        """The rows at these places."""
        return replace(
            self,
            dataset=self.dataset.select(places, new_fingerprint=_new()),
            numbers=[self.numbers[place] for place in places],
            keys=self.keys[places],
            groups=self.groups[places],
        )


@dataclass(frozen=True)
class Parts:
    """What is trained on and what is held out; neither list holds an empty part."""

    train: list[Part]
    held_out: list[Part]
    asked: int | None
    """How many rows were to be held out, where nbpeft chose them."""


def split(
    source: Source | Mix,
    formats: Sequence[str],
    columns: Mapping[str, str] | None,
    eval: float | int | Source | Mix | None,
) -> Parts:
    """Read and check the rows, and hold some out.

    Raises:
        DataError: as choose and check_rows; or the parts of a mix can't go together.
    """
    parts = _parts(source, formats, columns)
    likely = tuple(dict.fromkeys(part.reading.format.name for part in parts))
    if isinstance(eval, Source | Mix):
        held_out = _parts(eval, formats, columns, likely)
        _check_together([*parts, *held_out])
        return Parts(parts, held_out, None)
    if isinstance(source, Source) and eval is None and source.held_out:  # one that has rows
        wanted = [MOST]
    else:
        sizes = [len(part) for part in parts]
        wanted = quotas(sizes, held_out_count(sum(sizes), eval, source.label))
    owned: list[Part] = []
    for place, one in enumerate(_sources(source) if eval is None else ()):
        if one.held_out and wanted[place]:
            owned.append(_own(one, formats, columns, likely, wanted[place]))
            wanted[place] = 0
    _check_together([*parts, *owned])
    return _held_out(parts, wanted, owned)


def _held_out(parts: list[Part], wanted: list[int], owned: list[Part]) -> Parts:
    """Rows held out of parts, beside those that sources brought along for that."""
    import numpy as np

    if not sum(wanted):
        return Parts(parts, owned, None)
    held = held_out_rows([part.groups for part in parts], wanted)
    starts = np.cumsum([0, *map(len, parts)])
    train, out = [], []
    for part, start in zip(parts, starts, strict=False):
        mine = held[start : start + len(part)]
        train.append(part.some(np.flatnonzero(~mine).tolist()))
        out.append(part.some(np.flatnonzero(mine).tolist()))
    return Parts(
        [part for part in train if len(part)],
        [part for part in (*out, *owned) if len(part)],
        sum(wanted),
    )


def _own(
    source: Source,
    formats: Sequence[str],
    columns: Mapping[str, str] | None,
    likely: Sequence[str],
    most: int,
) -> Part:
    """The split to hold out that a source brings along, at most so many rows of it."""
    assert source.held_out is not None  # the caller looked
    label = f"{source.label} (its held-out split)"
    own = Source(source.held_out, None, label, origin=source.held_out_origin)
    [part] = _parts(own, formats, columns, likely)
    return part.some(some_of(len(part), min(most, len(part))))


def _sources(given: Source | Mix) -> tuple[Source, ...]:
    return (given,) if isinstance(given, Source) else given.sources


def _parts(
    given: Source | Mix,
    formats: Sequence[str],
    columns: Mapping[str, str] | None,
    likely: Sequence[str] = (),
) -> list[Part]:
    """Each source's rows, read and checked.

    Args:
        columns: for the sources that have such columns; the others are read by their own.
        likely: formats to try first: those of the rows that these are held out for.
    """
    sources = _sources(given)
    chosen = given.chosen() if isinstance(given, Mix) else [range(len(given.dataset))]
    fits = [set((columns or {}).values()) <= set(one.dataset.column_names) for one in sources]
    if not likely and not any(fits):
        fits[0] = True  # its error says what isn't there
    return [
        _part(one, formats, columns if fit else None, likely, numbers)
        for one, fit, numbers in zip(sources, fits, chosen, strict=True)
    ]


def _part(
    source: Source,
    formats: Sequence[str],
    columns: Mapping[str, str] | None,
    likely: Sequence[str],
    numbers: Sequence[int],
) -> Part:
    """Rows of a source by number, checked."""
    if not len(source.dataset):
        raise DataError(f"{quoted(source.label)} has no rows.")
    found = tuple(source.dataset.column_names)
    reading = _reading(source, formats, columns, likely)
    used = list(dict.fromkeys(reading.columns.values()))
    # fingerprints are given because datasets would otherwise hash the rows for one, slowly
    dataset = source.dataset.with_format(None).select_columns(used, new_fingerprint=_new())
    if len(numbers) < len(dataset):
        dataset = dataset.select(numbers, new_fingerprint=_new())
    check_rows(dataset, reading, source.label, numbers)
    keys, groups = _keys(dataset, reading)
    return Part(dataset, reading, numbers, source.label, keys, groups, source.origin, found)


def _reading(
    source: Source,
    formats: Sequence[str],
    columns: Mapping[str, str] | None,
    likely: Sequence[str],
) -> Reading:
    if likely:
        with contextlib.suppress(DataError):
            return choose(source.dataset, likely, columns, source.label)
    return choose(source.dataset, formats, columns, source.label)


def _keys(dataset: Dataset, reading: Reading) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """(keys, groups) of the rows."""
    import numpy as np

    def each() -> Iterator[tuple[int, int]]:
        for start in range(0, len(dataset), ROWS_AT_ONCE):
            batch = dataset[start : start + ROWS_AT_ONCE]
            for cells in zip(*batch.values(), strict=True):
                yield keys_of(reading.example(dict(zip(batch, cells, strict=True))))

    both: Any = np.fromiter(each(), dtype=np.dtype((np.uint64, 2)), count=len(dataset))
    return both[:, 0], both[:, 1]


def _new() -> str:
    return secrets.token_hex(8)


def _check_together(parts: Sequence[Part]) -> None:
    """Refuse raw text beside questions with answers: no one way of writing fits both."""
    raw = [part for part in parts if isinstance(part.examples(1)[0], Text)]
    if raw and len(raw) < len(parts):
        other = next(part for part in parts if part not in raw)
        raise DataError(
            f"{quoted(raw[0].label)} is read as raw text and {quoted(other.label)} as "
            f"{other.reading.format.name}: they can't go together; give data of one kind, or say "
            "with --columns how to read them."
        )


def first_example(parts: Sequence[Part]) -> Written:
    """A text that says how all of the parts are written: a chat where there is one."""
    firsts = [texts_of(part.examples(1)[0])[0] for part in parts]
    return next((example for example in firsts if isinstance(example, Chat)), firsts[0])
