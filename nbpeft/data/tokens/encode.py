"""Whole data sets as token ids and labels, part by part."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.data.finding.arrow import SMALL, temporary_folder, tie
from nbpeft.data.splitting.copies import canonical
from nbpeft.data.splitting.parts import Part
from nbpeft.data.tokens.columns import as_lists, features_of
from nbpeft.data.tokens.counts import Counts, together
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.masks import Encoder

if TYPE_CHECKING:
    from datasets import Dataset

AT_ONCE = 1000


@dataclass(frozen=True)
class Encoded:
    """Rows as a trainer gets them, and what was counted over them."""

    dataset: Dataset
    """As `Rows.train` has them."""
    counts: Counts
    ends: Ends
    """How answers end."""


def encode_parts(
    parts: Sequence[Part], encoder_of: Callable[[str], Encoder], digest: Any
) -> Encoded:
    """The rows of the parts, one part after the other, as ids and labels.

    Args:
        encoder_of: makes an encoder for a part of this name.
        digest: a hash to feed with the raw rows; None for none.

    Raises:
        DataError: the chat template refuses a row.
    """
    import datasets

    size = sum(_bytes(part.dataset) for part in parts)
    folder = None if size <= SMALL else temporary_folder()
    encoders = [encoder_of(part.label) for part in parts]
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


def ends_of(encoders: Sequence[Encoder]) -> Ends:
    """How answers end: an encoder of chats knows it once it saw one."""
    return next((e.ends for e in encoders if e.counts.rows), encoders[0].ends)


def _bytes(dataset: Dataset) -> int:
    """Of a data set's rows, as they lie in memory, by their share of the table they are from."""
    return int(dataset.data.nbytes * len(dataset) / max(1, dataset.data.num_rows))


def _mapped(part: Part, encoder: Encoder, digest: Any, path: Path | None) -> Dataset:
    """The rows of one part as ids and labels, in memory or in a file."""
    names = part.dataset.column_names
    features = features_of(part.examples(1)[0])

    def batch(cells: Mapping[str, list[Any]], places: list[int]) -> dict[str, list[Any]]:
        rows = zip(*(cells[name] for name in names), strict=True)
        examples = [part.reading.example(dict(zip(names, row, strict=True))) for row in rows]
        if digest is not None:
            for example in examples:
                digest.update(canonical(example))
        made = encoder.batch(examples, [part.numbers[place] for place in places])
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
