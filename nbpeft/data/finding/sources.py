"""Where the rows come from: a variable, a path, `tiny:NAME`, `hub:owner/name`, or an object."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.data.finding.arrow import gather, table_of
from nbpeft.data.finding.files import READERS, exists, origin_of_path, read_path, rows_to_tables
from nbpeft.data.finding.hub import read_hub
from nbpeft.data.reading.recipes import Origin
from nbpeft.errors import LONGEST_WORD, DataError, did_you_mean, listed, quoted
from nbpeft.tiny import data_names

if TYPE_CHECKING:
    from datasets import Dataset

HELD_OUT_SPLITS = ("validation", "valid", "val", "dev", "eval", "test")
"""Names of splits to hold out, the best first."""

MANY = 1000
"""Entries of a folder that are looked at for a name near to a missing one."""


@dataclass(frozen=True)
class Source:
    """Rows as found, before tokenizing."""

    dataset: Dataset
    held_out: Dataset | None
    """Set when the source brings its own: a DatasetDict or hub data set with such a split."""
    label: str
    """What the user gave: 'chats', 'rows.jsonl', 'tiny:pirate', '12 inline rows'."""
    notes: tuple[str, ...] = ()
    origin: Origin | None = None
    """How the rows of `dataset` are reached from Python,"""
    held_out_origin: Origin | None = None
    """and those of `held_out`."""


def read(given: object, namespace: Mapping[str, object]) -> Source:
    """Find the rows that `given` stands for.

    Args:
        given: a string is a variable of `namespace`, else an existing path (.jsonl .json .csv
            .tsv .parquet .txt, or a folder from Dataset.save_to_disk), else `tiny:NAME` or
            `hub:owner/name[:split]`. Anything else is the rows themselves: a DataFrame, a
            Dataset or DatasetDict, a column of one, a list of dicts or of strings, or a dict of
            columns.
        namespace: the user's variables.

    Raises:
        DataError: there is nothing of that name, or it can't be read as rows.
    """
    if not isinstance(given, str):
        return _from_object(given, _inline_label(given), "The data given")
    if given in namespace:
        value = namespace[given]
        if not isinstance(value, str):
            return _from_object(value, given, f"The variable {quoted(given)}")
        if not exists(value):
            raise DataError(
                f"The variable {quoted(given)} is a string, {quoted(value)}, and no such path "
                "exists; give a DataFrame, a Dataset, a list or the path of a file."
                f"{did_you_mean(*_missing(value))}"
            )
        given = value
    if exists(given):
        path = Path(given).expanduser()
        found, notes = read_path(path)
        return _from_splits(found, given, origin_of_path(path), notes)
    if given.startswith("tiny:"):
        from nbpeft.tiny import load_data

        name = given.removeprefix("tiny:")
        origin = Origin("dataset", made=f"nbpeft.load_data({name!r})", imports=("import nbpeft",))
        return Source(load_data(name), None, given, origin=origin)
    if given.startswith("hub:"):
        name, _, split = given.removeprefix("hub:").partition(":")
        made = f"load_dataset({name!r}{f', split={split!r}' if split else ''})"
        origin = Origin("dataset", made=made, imports=("from datasets import load_dataset",))
        return _from_splits(read_hub(given.removeprefix("hub:")), given, origin)
    raise _nothing_called(given, namespace)


def _from_object(value: object, label: str, subject: str) -> Source:
    import datasets

    name = label if label.isidentifier() else "rows"
    value = _of_column(value)
    if isinstance(value, datasets.Dataset | datasets.DatasetDict):
        return _from_splits(value, label, Origin("dataset", name))
    if not _is_rows(value):
        hint = ""
        if isinstance(value, datasets.IterableDataset | datasets.IterableDatasetDict):
            hint = "; take a part of it: rows = list(stream.take(1000))"
        raise DataError(
            f"{subject} is of type {type(value).__name__}, which can't be read as rows; give a "
            "DataFrame, a Dataset, a column of one, a list of dicts, a list of strings or a dict "
            f"of columns{hint}."
        )
    try:
        return Source(_converted(value), None, label, origin=_origin_of(value, name))
    except (ValueError, TypeError, OverflowError) as error:  # Arrow's errors are among these
        reason = str(error).splitlines()[0]
        raise DataError(f"{subject} can't be read as rows: {reason}") from error


def _of_column(value: Any) -> Any:
    """A column of a Dataset or a DataFrame: a list of its strings, or else a table of it alone."""
    from datasets import Column

    pandas = sys.modules.get("pandas")
    if isinstance(value, Column):
        cells, name = list(value), value.column_name
    elif pandas is not None and isinstance(value, pandas.Series):
        cells, name = value.tolist(), value.name
    else:
        return value
    strings = bool(cells) and all(isinstance(cell, str) for cell in cells)
    return cells if strings else {str(name or "prompt"): cells}


def _converted(value: Any) -> Dataset:
    if isinstance(value, Mapping):
        return gather([table_of({str(name): list(cells) for name, cells in value.items()})], False)
    if not isinstance(value, list | tuple):  # a DataFrame; its index is not a column
        if not value.columns.is_unique:
            raise ValueError("two of its columns have the same name")
        return gather([table_of({str(name): value[name] for name in value.columns})], False)
    if value and all(isinstance(row, str) for row in value):
        return gather([table_of({"text": value})], False)
    for number, row in enumerate(value):
        if not isinstance(row, Mapping):
            raise ValueError(
                f"row {number} is of type {type(row).__name__}; every row must be a dict, "
                "or every row a string"
            )
    return gather(rows_to_tables(value), False)


def _origin_of(value: Any, name: str) -> Origin:
    if isinstance(value, Mapping):
        made = f"Dataset.from_dict({name})"
        return Origin("dataset", name, made=made, imports=("from datasets import Dataset",))
    if not isinstance(value, list | tuple):
        return Origin("frame", name)
    return Origin("strings" if value and isinstance(value[0], str) else "list", name)


def _from_splits(
    found: Any, label: str, origin: Origin | None, notes: tuple[str, ...] = ()
) -> Source:
    import datasets

    if isinstance(found, datasets.Dataset):
        return Source(found, None, label, notes, origin)
    if len(found) == 1:
        [(split, only)] = found.items()
        return Source(only, None, label, notes, _of_split(origin, split))
    if "train" not in found:
        raise DataError(
            f"{quoted(label)} has the splits {listed(found)} and none is called train; give one "
            f"of them: rows = {label if label.isidentifier() else 'data'}['{next(iter(found))}'] "
            "and --data rows."
        )
    train = _of_split(origin, "train")
    for name in HELD_OUT_SPLITS:
        if name in found:
            note = f"training on the split train of {label}; held out: its split {name}"
            held_out = _of_split(origin, name)
            return Source(found["train"], found[name], label, (*notes, note), train, held_out)
    notes = (*notes, f"training on the split train of {label}")
    return Source(found["train"], None, label, notes, train)


def _of_split(origin: Origin | None, split: str) -> Origin | None:
    return None if origin is None else replace(origin, split=split)


def _is_rows(value: object) -> bool:
    """Whether `value` looks like rows; imports nothing that the user hasn't."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return True
    if isinstance(value, dict):
        return bool(value) and all(isinstance(cells, list | tuple) for cells in value.values())
    return isinstance(value, list) or type(value) is tuple  # a namedtuple is one row


def _candidate(name: str, value: object) -> bool:
    """Whether a variable is worth naming to somebody who looks for rows."""
    if name.startswith("_") or name in ("In", "Out"):
        return False
    datasets = sys.modules.get("datasets")
    if datasets is not None and isinstance(value, datasets.Dataset | datasets.DatasetDict):
        return True
    if isinstance(value, list | tuple):
        return bool(value) and isinstance(value[0], str | dict)
    return _is_rows(value)


def _inline_label(value: object) -> str:
    return f"{len(value)} inline rows" if isinstance(value, list | tuple) else type(value).__name__


def row_variables(namespace: Mapping[str, object]) -> list[str]:
    """The variables that hold rows, as far as a glance tells."""
    return [name for name, value in list(namespace.items()) if _candidate(name, value)]


def _nothing_called(given: str, namespace: Mapping[str, object]) -> DataError:
    candidates = row_variables(namespace)
    missing, beside = _missing(given)
    if Path(given).suffix.lower() in READERS or "/" in given or "\\" in given:
        near = did_you_mean(missing, beside)
        hub = f" For the hub type hub:{given}." if given.count("/") == 1 and not near else ""
        why = f"There is no file or folder {quoted(given, 200)}.{near}{hub}"
    else:
        near = did_you_mean(given, [*candidates, *(f"tiny:{n}" for n in data_names()), *beside])
        why = f"There is no variable or file {quoted(given)}.{near}"
    return DataError(
        f"{why} Variables that hold rows: {listed(candidates)}; or type a path, tiny:NAME or "
        "hub:owner/name."
    )


def _missing(given: str) -> tuple[str, list[str]]:
    """The first part of a path that isn't there, and the names that lie in its place."""
    if len(given) > LONGEST_WORD:
        return given, []
    path = Path(given)
    for part in (path, *path.parents):
        with contextlib.suppress(OSError, RuntimeError):  # not ours to read; no such home
            folder = part.parent.expanduser()
            if folder.is_dir():
                return part.name, [entry.name for entry in islice(folder.iterdir(), MANY)]
    return given, []
