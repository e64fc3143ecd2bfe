"""Where methods, objectives and places are found by name.

A family is a package: every module in it adds its entries when it is imported, and the first
look-up imports them all. So a new entry is one new file, and nothing else lists it. Entry modules
import torch, peft and trl inside their functions only: a look-up stays light.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from nbpeft.errors import RequestError, did_you_mean, listed, quoted


class Entry(Protocol):
    """Anything with a name that users type and a one-line summary."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...


E = TypeVar("E", bound=Entry)


class Registry(Generic[E]):
    """Entries of one kind ('method', 'objective', 'place') by name, in the order of adding."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, E] = {}
        self._loaded = False

    def add(self, entry: E) -> E:
        """Add an entry; a name that is taken is an error in the code, not in a request."""
        if entry.name in self._entries:
            raise ValueError(f"the {self.kind} {entry.name!r} is registered twice")
        self._entries[entry.name] = entry
        return entry

    def remove(self, name: str) -> None:
        """Take an entry out again (a test's own entry)."""
        del self._entries[name]

    def get(self, name: str) -> E:
        """The entry called `name`; RequestError with the nearest names when there is none."""
        self._load()
        if name not in self._entries:
            raise RequestError(
                f"There is no {self.kind} {quoted(name)}."
                f"{did_you_mean(name, self._entries)} The {self.kind}s are: "
                f"{listed(self._entries)}."
            )
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        """Every name, in the order of adding."""
        self._load()
        return tuple(self._entries)

    def __iter__(self) -> Iterator[E]:
        self._load()
        return iter(tuple(self._entries.values()))

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):  # what entries share, and import when they need it
                importlib.import_module(f"{self._package}.{module.name}")


def check_pair(method: HasNeeds, objective: HasGives) -> None:
    """Refuse a method and an objective that don't go together (by capability words, not names)."""
    missing = sorted(method.needs - objective.gives)
    if missing:
        raise RequestError(
            f"The method {quoted(method.name)} needs {' and '.join(missing)}, which the objective "
            f"{quoted(objective.name)} does not give; choose another --method or --objective."
        )


class HasNeeds(Entry, Protocol):
    """A method, as far as pairing goes: what it needs from the objective's forward."""

    @property
    def needs(self) -> frozenset[str]: ...


class HasGives(Entry, Protocol):
    """An objective, as far as pairing goes: what its forward works on."""

    @property
    def gives(self) -> frozenset[str]: ...
