"""Whole data sets as token ids and labels, part by part."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nbpeft.data.finding.arrow import SMALL, temporary_folder, tie
from nbpeft.data.reading.examples import Example
from nbpeft.data.splitting.copies import canonical
from nbpeft.data.splitting.parts import Part
from nbpeft.data.tokens.columns import as_lists
from nbpeft.data.tokens.counts import Counts, together
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.row import Row

if TYPE_CHECKING:
    from datasets import Dataset, Features

AT_ONCE = 1000


class Encodes(Protocol):
    """Makes tokens of the examples of one part, and counts what it met."""

    counts: Counts
    ends: Ends
    """How answers end."""
    room: int
    """Tokens that a text may have."""

    def features(self, part: Part) -> Features:
        """The columns that a trainer gets."""

    def batch(self, examples: list[Example], numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Those columns, of the examples that can be trained on.

        Args:
            numbers: the user's number of each example, for messages.
        """

    def rest(self) -> list[dict[str, Any]]:
        """Those that waited for more examples, once there are no more."""

    def written(self, examples: list[Example], numbers: Sequence[int]) -> list[list[Row]]:
        """The texts of each example as tokens, whole."""

    def count(self, rows: Sequence[Row], number: int) -> list[list[int | None]]:
        """The labels of an example's texts, counted; none where it can't be trained on."""

    def remark(self, row: Row, labels: Sequence[int | None]) -> str:
        """What is to be said of a text that is shown token by token."""


@dataclass(frozen=True)
class Encoded:
    """Rows as a trainer gets them, and what was counted over them."""

    dataset: Dataset
    """As `Rows.train` has them."""
    counts: Counts
    ends: Ends
    """How answers end."""


def encode_parts(
    parts: Sequence[Part], encoder_of: Callable[[Part], Encodes], digest: Any
) -> Encoded:
    """The rows of the parts, one part after the other, as ids and labels.

    Args:
        encoder_of: makes an encoder for a part.
        digest: a hash to feed with the raw rows; None for none.

    Raises:
        DataError: the chat template refuses a row.
    """
    import datasets

    size = sum(_bytes(part.dataset) for part in parts)
    folder = None if size <= SMALL else temporary_folder()
    encoders = [encoder_of(part) for part in parts]
    try:
        made = [
            _mapped(part, encoder, digest, None if folder is None else folder / f"{place}.arrow")
            for place, (part, encoder) in enumerate(zip(parts, encoders, strict=True))
        ]
    except BaseException:  # Stop, too, leaves no file behind
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    encoded = made[0] if len(made) == 1 else datasets.concatenate_datasets(made)
    if folder is not None:
        tie(folder, encoded)
    counts = together([e.counts for e in encoders], [part.label for part in parts])
    return Encoded(encoded, counts, ends_of(encoders))


def ends_of(encoders: Sequence[Encodes]) -> Ends:
    """How answers end: an encoder of chats knows it once it saw one."""
    return next((e.ends for e in encoders if e.counts.rows), encoders[0].ends)


def _bytes(dataset: Dataset) -> int:
    """Of a data set's rows, as they lie in memory, by their share of the table they are from."""
    return int(dataset.data.nbytes * len(dataset) / max(1, dataset.data.num_rows))


def _mapped(part: Part, encoder: Encodes, digest: Any, path: Path | None) -> Dataset:
    """The rows of one part as ids and labels, in memory or in a file."""
    names = part.dataset.column_names
    features = encoder.features(part)

    def batch(cells: Mapping[str, list[Any]], places: list[int]) -> dict[str, list[Any]]:
        rows = zip(*(cells[name] for name in names), strict=True)
        examples = [part.example_of(dict(zip(names, row, strict=True))) for row in rows]
        if digest is not None:
            for example in examples:
                digest.update(canonical(example))
        made = encoder.batch(examples, [part.numbers[place] for place in places])
        if places[-1] == len(part) - 1:
            made += encoder.rest()
        return as_lists(made, list(features))

    return part.dataset.map(
        batch,
        with_indices=True,
        batched=True,
        batch_size=AT_ONCE,
        remove_columns=names,
        features=features,
        keep_in_memory=path is None,
        cache_file_name=None if path is None else str(path),
        load_from_cache_file=False,
        new_fingerprint=secrets.token_hex(8),
    )
