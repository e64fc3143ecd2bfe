"""Which rows are trained on and which are held out, over one source or a mix of several."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    example_of: Callable[[Mapping[str, Any]], Example]
    """A row of `dataset` as an example; `reading` is of the user's rows, which it is made of."""
    remark: str = ""
    """How its examples were made of other ones, for the plan."""

    def __len__(self) -> int:
        return len(self.numbers)

    def examples(self, count: int) -> list[Example]:
        """The first `count` rows, read."""
        return [self.example_of(row) for row in self.dataset.select(range(count))]

    def each(self) -> Iterator[Example]:
        """All the rows, read."""
        for start in range(0, len(self.dataset), ROWS_AT_ONCE):
            batch = self.dataset[start : start + ROWS_AT_ONCE]
            for cells in zip(*batch.values(), strict=True):
                yield self.example_of(dict(zip(batch, cells, strict=True)))

    def some(self, places: Sequence[int]) -> Part:
        """The rows at these places."""
        return replace(
            self,
            dataset=self.dataset.select(places, new_fingerprint=new_name()),
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
    read: list[Part]
    """What was given to train on, before any of it was held out."""


def as_it_is(part: Part) -> Part:
    """The part itself: its rows are what is trained on."""
    return part


def split(
    source: Source | Mix,
    formats: Sequence[str],
    columns: Mapping[str, str] | None,
    eval: float | int | Source | Mix | None,
    converted: Callable[[Part], Part] = as_it_is,
) -> Parts:
    """Read and check the rows, and hold some out.

    Args:
        converted: what makes other examples of the rows of a part, before any are held out.

    Raises:
        DataError: as choose, check_rows and `converted`; or the parts of a mix can't go together.
    """
    parts = [converted(part) for part in _parts(source, formats, columns)]
    likely = tuple(dict.fromkeys(part.reading.format.name for part in parts))
    if isinstance(eval, Source | Mix):
        held_out = [converted(part) for part in _parts(eval, formats, columns, likely)]
        _check_together([*parts, *held_out])
        return Parts(parts, held_out, None, parts)
    if isinstance(source, Source) and eval is None and source.held_out:  # one that has rows
        wanted = [MOST]
    else:
        sizes = [len(part) for part in parts]
        wanted = quotas(sizes, held_out_count(sum(sizes), eval, source.label))
    owned: list[Part] = []
    for place, one in enumerate(_sources(source) if eval is None else ()):
        if one.held_out and wanted[place]:
            own = _own(one, formats, columns, likely, most=wanted[place], converted=converted)
            owned.append(own)
            wanted[place] = 0
    _check_together([*parts, *owned])
    return _held_out(parts, wanted, owned)


def _held_out(parts: list[Part], wanted: list[int], owned: list[Part]) -> Parts:
    """Rows held out of parts, beside those that sources brought along for that."""
    import numpy as np

    if not sum(wanted):
        return Parts(parts, owned, None, parts)
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
        parts,
    )


def _own(
    source: Source,
    formats: Sequence[str],
    columns: Mapping[str, str] | None,
    likely: Sequence[str],
    *,
    most: int,
    converted: Callable[[Part], Part],
) -> Part:
    """The split to hold out that a source brings along, at most so many rows of it."""
    assert source.held_out is not None  # the caller looked
    label = f"{source.label} (its held-out split)"
    own = Source(source.held_out, None, label, origin=source.held_out_origin)
    [part] = map(converted, _parts(own, formats, columns, likely))
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
    import numpy as np

    if not len(source.dataset):
        raise DataError(f"{quoted(source.label)} has no rows.")
    found = tuple(source.dataset.column_names)
    reading = _reading(source, formats, columns, likely)
    used = found if reading.format.rest else tuple(dict.fromkeys(reading.columns.values()))
    # fingerprints are given because datasets would otherwise hash the rows for one, slowly
    dataset = source.dataset.with_format(None).select_columns(
        list(used), new_fingerprint=new_name()
    )
    if len(numbers) < len(dataset):
        dataset = dataset.select(numbers, new_fingerprint=new_name())
    check_rows(dataset, reading, source.label, numbers)
    nothing = np.zeros(0, dtype=np.uint64)
    return keyed(
        Part(
            dataset=dataset,
            reading=reading,
            numbers=numbers,
            label=source.label,
            keys=nothing,
            groups=nothing,
            origin=source.origin,
            found=found,
            example_of=reading.example,
        )
    )


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


def keyed(part: Part) -> Part:
    """The part with the keys and groups of its examples."""
    import numpy as np

    each = map(keys_of, part.each())
    both: Any = np.fromiter(each, dtype=np.dtype((np.uint64, 2)), count=len(part.dataset))
    return replace(part, keys=both[:, 0], groups=both[:, 1])


def new_name() -> str:
    """A fingerprint for a data set that nobody else has."""
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
