"""What there is to offer as a value: variables, files, adapters, columns, layers.

All of it is a glance: nothing is imported that the user hasn't, no data is read, and no more than
the names of a folder's files.
"""

from __future__ import annotations

import itertools
import os
import shlex
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbpeft.data.finding.files import READERS
from nbpeft.data.finding.sources import row_variables
from nbpeft.data.reading.formats import FORMATS
from nbpeft.data.signals import SIGNALS
from nbpeft.methods._peft import linear_names
from nbpeft.objectives import objectives
from nbpeft.rendering import count, nats
from nbpeft.session.models import models_in, tokenizers_in
from nbpeft.session.record import Record
from nbpeft.tiny import data_names

IPYTHONS = ("In", "Out", "exit", "quit", "get_ipython")
MOST_FILES = 200
MOST_COLUMNS = 100


@dataclass(frozen=True)
class Offer:
    """One completion."""

    text: str
    kind: str
    """In a word or two: 'flag', 'choice', 'adapter', …"""
    help: str = ""


def rows(typed: str, variables: Mapping[str, Any]) -> Iterator[Offer]:
    """Variables that hold rows, the package's data sets, and files under what is typed so far."""
    for name in row_variables(variables):
        yield Offer(name, "rows", _shape(variables[name]))
    for name in data_names():
        yield Offer(f"tiny:{name}", "rows", "comes with nbpeft")
    yield from _files(typed)


def named(variables: Mapping[str, Any], but: Sequence[str]) -> Iterator[Offer]:
    """The user's variables that hold a value, but for some."""
    for name, value in list(variables.items()):
        names_code = isinstance(value, types.ModuleType | types.FunctionType | type)
        if not names_code and not name.startswith("_") and name not in (*but, *IPYTHONS):
            yield Offer(name, "variable", type(value).__name__)


def folders(typed: str) -> Iterator[Offer]:
    """Folders under what is typed so far."""
    return (offer for offer in _files(typed) if offer.kind == "folder")


def _files(typed: str) -> Iterator[Offer]:
    start = typed.strip("'\"")
    folder = start[: start.rfind("/") + 1]
    place = Path(folder).expanduser()
    if not place.is_dir():
        return
    with os.scandir(place) as entries:
        seen = sorted(itertools.islice(entries, 10 * MOST_FILES), key=lambda entry: entry.name)
    usable = (e for e in seen if e.is_dir() or Path(e.name).suffix.lower() in READERS)
    for entry in itertools.islice(usable, MOST_FILES):
        if entry.name.startswith(".") or not entry.name.isprintable():
            continue
        path = folder + entry.name + ("/" if entry.is_dir() else "")
        yield Offer(shlex.quote(path), "folder" if entry.is_dir() else "file")


def models(variables: Mapping[str, Any]) -> Iterator[Offer]:
    """Variables that hold a model."""
    for name, value in models_in(variables).items():
        yield Offer(name, "model", type(value).__name__)


def tokenizers(variables: Mapping[str, Any]) -> Iterator[Offer]:
    """Variables that hold a tokenizer."""
    for name, value in tokenizers_in(variables).items():
        yield Offer(name, "tokenizer", type(value).__name__)


def adapters(records: Iterable[Record], *, versions: bool = True) -> Iterator[Offer]:
    """NAME for the newest of each, then NAME@VERSION for the earlier ones."""
    newest: dict[str, Record] = {}
    every = sorted(records, key=lambda r: (r.name, -r.version))
    for record in every:
        newest.setdefault(record.name, record)
    for name, record in newest.items():
        yield Offer(name, "adapter", _about(record))
    for record in every if versions else ():
        if newest[record.name] is not record:
            yield Offer(record.label, "adapter", _about(record))


def _about(record: Record) -> str:
    loss = record.metrics.get("held_out_loss", record.metrics.get("loss"))
    shown = f", loss {nats(loss)}" if loss is not None else ""
    return f"{record.method}, {record.objective}{shown}" + (" (partial)" if record.partial else "")


def entries(registry: Iterable[Any]) -> Iterator[Offer]:
    """Methods, objectives or places, with what they are."""
    for entry in registry:
        yield Offer(entry.name, "choice", entry.summary)


def read_columns(objective: str) -> Iterator[Offer]:
    """The columns that an objective reads; none where there is no such objective."""
    if objective not in objectives.names():
        return
    offered = set()
    for entry in SIGNALS[objectives.get(objective).signal].formats:
        for name, cell in FORMATS[entry].columns.items():
            if name not in offered:
                yield Offer(name, "column", cell.wants)
            offered.add(name)


def columns(variables: Mapping[str, Any], data: str) -> Iterator[Offer]:
    """The columns of a variable."""
    for name in itertools.islice(_names(variables.get(data)), MOST_COLUMNS):
        if isinstance(name, str) and name.isprintable():
            yield Offer(name, "column", f"of {data}")


def _names(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        value = value[0] if value else {}
        return value if isinstance(value, dict) else ["text"]
    if isinstance(value, dict):  # of columns, or a DatasetDict
        first = next(iter(value.values()), None)
        return value if isinstance(first, list | tuple) else _names(first)
    kind = type(value).__name__
    if kind == "DataFrame":
        return value.columns
    return value.column_names if kind == "Dataset" else ()


def linear_layers(variables: Mapping[str, Any], model: str | None) -> Iterator[Offer]:
    """The names of a model's linear layers, how many there are of each; the adapter's own not."""
    found = models_in(variables)
    value = found.get(model or next(iter(found), ""))
    if value is None:
        return
    paths = linear_names(value)
    wrapped = {path.removesuffix(".base_layer") for path in paths if path.endswith(".base_layer")}
    counts: dict[str, int] = {}
    for path in paths:
        owner = next((p for p in _owners(path) if p in wrapped), path)
        if owner == path or path.endswith(".base_layer"):
            name = owner.rpartition(".")[2]
            counts[name] = counts.get(name, 0) + 1
    for name, number in counts.items():
        yield Offer(name, "module", f"{count(number)} in this model")


def _owners(path: str) -> Iterator[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _shape(value: Any) -> str:
    kind = type(value).__name__
    if kind == "DataFrame":
        return f"DataFrame, {count(len(value))} rows"
    if kind in ("Dataset", "list", "tuple"):
        return f"{kind}, {count(len(value))} rows"
    return kind
