"""Several sources in one: `--data a:0.7,b:0.3`.

The shares are of the mix, which is as large as the sources allow with no row used twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nbpeft.data.finding.files import exists
from nbpeft.data.finding.sources import Source, read
from nbpeft.data.reading.shapes import shown
from nbpeft.data.splitting.split import some_of
from nbpeft.errors import DataError, quoted

PART = re.compile(r"\s*(?P<name>.+?)\s*:\s*(?P<share>\d+(?:\.\d*)?|\.\d+)\s*(?:,|$)")
"""A name and its share. Names may hold colons (hub:owner/name, a drive) and commas."""


@dataclass(frozen=True)
class Mix:
    """Sources, and what part of the mix each is."""

    sources: tuple[Source, ...]
    shares: tuple[float, ...]
    """They sum to 1."""
    label: str
    """What the user gave."""

    def chosen(self) -> list[Sequence[int]]:
        """The numbers of the rows of each source, in rising order, the same every time."""
        sizes = [len(source.dataset) for source in self.sources]
        whole = min(size / share for size, share in zip(sizes, self.shares, strict=True))
        counts = [
            min(size, max(1, round(whole * share)))
            for size, share in zip(sizes, self.shares, strict=True)
        ]
        return [
            range(size) if count == size else some_of(size, count)
            for size, count in zip(sizes, counts, strict=True)
        ]

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of its sources, and how many rows of each are used."""
        used = ", ".join(
            f"{len(rows):,} of {len(source.dataset):,} rows of {shown(source.label)} ({share:.0%})"
            for source, rows, share in zip(self.sources, self.chosen(), self.shares, strict=True)
        )
        mixed = f"a mix, as large as its shares allow with no row used twice: {used}"
        return (*(note for source in self.sources for note in source.notes), mixed)


def read_mix(given: object, namespace: Mapping[str, object]) -> Source | Mix:
    """What `read` takes, or several of them with their shares: 'a:0.7,b:0.3'.

    Args:
        given: names and positive numbers; the shares are the numbers over their sum. A variable
            or path of the whole name comes first.
        namespace: the user's variables.

    Raises:
        DataError: as read; or a share is missing or 0, a source is named twice or has no rows.
    """
    if not isinstance(given, str) or "," not in given or _is_there(given, namespace):
        return read(given, namespace)
    parts = list(PART.finditer(given))
    rest = given[parts[-1].end() :].strip() if parts else given
    unshared = [rest] if parts and rest else []
    for name in [*(part["name"] for part in parts), *([] if parts else [given])]:
        if "," in name and not _is_there(name, namespace):
            pieces = [piece.strip() for piece in name.split(",")]
            unshared += [piece for piece in pieces if _is_there(piece, namespace)]
    if unshared:
        raise DataError(
            f"data: {quoted(unshared[0], 200)} has no share; type each source as NAME:SHARE, such "
            "as --data a:0.7,b:0.3."
        )
    if len(parts) < 2:
        return read(given, namespace)
    return _mix([(part["name"], float(part["share"])) for part in parts], given, namespace)


def _is_there(name: str, namespace: Mapping[str, object]) -> bool:
    """Whether a name stands for something, as far as a glance tells."""
    return bool(name) and (
        name in namespace or re.fullmatch(r"(tiny|hub):[^,]+", name) is not None or exists(name)
    )


def _mix(parts: list[tuple[str, float]], given: str, namespace: Mapping[str, object]) -> Mix:
    names = [name for name, _ in parts]
    for name, share in parts:
        if not share:
            raise DataError(f"data: the share of {quoted(name)} is 0; leave it out.")
        if names.count(name) > 1:
            raise DataError(f"data: {quoted(name)} stands in the mix twice; keep one.")
    sources = tuple(read(name, namespace) for name in names)
    for source in sources:
        if not len(source.dataset):
            raise DataError(f"{quoted(source.label)} has no rows.")
    total = sum(share for _, share in parts)
    return Mix(sources, tuple(share / total for _, share in parts), given)
