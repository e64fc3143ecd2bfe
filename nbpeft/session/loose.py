"""Adapters in memory that no shelf has: made by hand, taken in, made of others, of a full disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from nbpeft.session.names import split_label
from nbpeft.session.record import Record


class Loose:
    """Their records, by their labels; the mounts are their models'."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    @property
    def labels(self) -> set[str]:
        """What they are called."""
        return set(self._records)

    def get(self, label: str) -> Record | None:
        """That of a label."""
        return self._records.get(label)

    def add(self, record: Record) -> None:
        """Take one in."""
        self._records[record.label] = record

    def drop(self, label: str) -> None:
        """It is on the shelf now, or gone; nothing where it isn't here."""
        self._records.pop(label, None)

    def of(self, name: str) -> list[Record]:
        """The versions of an adapter that are here."""
        return [record for record in self if record.name == name]

    def find(self, label: str, next_on_shelf: Callable[[str], int]) -> Record | None:
        """NAME (when its newest version isn't on the shelf) or NAME@VERSION."""
        name, version = split_label(label)
        found = self.of(name)
        if version is not None:
            found = [record for record in found if record.version == version]
        elif found and max(record.version for record in found) < next_on_shelf(name) - 1:
            found = []
        return max(found, key=lambda record: record.version, default=None)

    def relabel(self, new: Callable[[str], str]) -> None:
        """They, and the adapters that they went on from, have other names."""
        records = [replace(r, name=new(r.name), parent=r.parent and new(r.parent)) for r in self]
        self._records = {record.label: record for record in records}
