"""Rows from a file or folder: read in pieces, named by row when a line can't be read.

JSON lines are parsed here rather than by Arrow, which would turn texts that look like dates into
dates and name rows counted from the start of a block. CSV cells are all read as strings: a CSV
has no types, and an answer may well be `5` or `NA`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.data.finding.arrow import SMALL, gather, table_of
from nbpeft.data.reading.recipes import Kind, Origin
from nbpeft.errors import DataError, listed, quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

ROWS_AT_ONCE = 10_000


def exists(path: str) -> bool:
    """Whether there is such a file or folder; what can't be a path at all isn't one."""
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, no such user
        return False


def read_path(path: Path) -> tuple[Dataset | DatasetDict, tuple[str, ...]]:
    """The rows of a file, or of a folder from `Dataset.save_to_disk`, and notes on the reading.

    Raises:
        DataError: not a kind of file that can be read, or not what its ending says.
    """
    if path.is_dir():
        return _saved(path), ()
    ending = path.suffix.lower()
    if ending not in READERS:
        raise DataError(
            f"{quoted(str(path), 200)} can't be read as rows: the endings known are "
            f"{listed(READERS)}; or a folder from Dataset.save_to_disk."
        )
    notes: list[str] = []
    try:
        tables = READERS[ending](path, notes)
        dataset = gather(tables, spill=path.stat().st_size > SMALL)
    except (OSError, ValueError, csv.Error) as error:  # Arrow's and the decoder's are ValueErrors
        raise DataError(
            f"{quoted(str(path), 200)} can't be read as {ending[1:]}: {str(error).splitlines()[0]}"
        ) from error
    return dataset, tuple(notes)


def origin_of_path(path: Path) -> Origin | None:
    """How the same rows are reached in Python, where that is short."""
    if path.is_dir():
        load = ("from datasets import load_from_disk",)
        return Origin("dataset", made=f"load_from_disk({str(path)!r})", imports=load)
    ending = path.suffix.lower()
    if ending not in PYTHON or (ending == ".json" and not _is_list(path)):
        return None
    kind, made, modules = PYTHON[ending]
    return Origin(kind, made=made.replace("PATH", repr(str(path))), imports=modules)


def _is_list(path: Path) -> bool:
    with path.open(encoding="utf-8-sig") as text:
        return text.read(1000).lstrip().startswith("[")


def _saved(path: Path) -> Dataset | DatasetDict:
    import datasets

    try:
        return datasets.load_from_disk(str(path))
    except FileNotFoundError as error:
        raise DataError(
            f"The folder {quoted(str(path), 200)} isn't one from Dataset.save_to_disk; give a "
            "file in it instead."
        ) from error


def rows_to_tables(rows: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
    """Rows as tables of ROWS_AT_ONCE rows each; a key that a row lacks is null there."""
    rows = iter(rows)
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        names = list(dict.fromkeys(name for row in chunk for name in row))
        yield table_of({name: [row.get(name) for row in chunk] for name in names})


def _json_lines(path: Path, notes: list[str]) -> Iterator[pa.Table]:
    return rows_to_tables(_parsed_lines(path))


def _parsed_lines(path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    with path.open(encoding="utf-8-sig") as lines:
        for place, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"row {number} (line {place}) is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(
                    f"row {number} (line {place}) is of type {type(row).__name__}, not an object "
                    'with columns, such as {"text": "…"}'
                )
            yield row
            number += 1


def _json(path: Path, notes: list[str]) -> Iterator[pa.Table]:
    """A list of objects, an object of columns, or JSON lines under the wrong ending."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError:
        return _json_lines(path, notes)
    if isinstance(whole, dict) and all(isinstance(cells, list) for cells in whole.values()):
        return iter([table_of(whole)])
    rows = whole if isinstance(whole, list) else [whole]
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(
                f"row {number} is of type {type(row).__name__}, not an object with columns"
            )
    return rows_to_tables(rows)


def _separated(path: Path, notes: list[str], separator: str) -> Iterator[pa.Table]:
    import pyarrow as pa
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = next(csv.reader(lines, delimiter=separator), [])
    reader = open_csv(
        path,
        read_options=ReadOptions(block_size=16_000_000),  # a row must fit into a block
        parse_options=ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=ConvertOptions(column_types=dict.fromkeys(header, pa.string())),
    )
    return (pa.Table.from_batches([batch]) for batch in reader)


def _comma_separated(path: Path, notes: list[str]) -> Iterator[pa.Table]:
    return _separated(path, notes, ",")


def _tab_separated(path: Path, notes: list[str]) -> Iterator[pa.Table]:
    return _separated(path, notes, "\t")


def _parquet(path: Path, notes: list[str]) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches = pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE)
    return (pa.Table.from_batches([batch]) for batch in batches)


def _text(path: Path, notes: list[str]) -> Iterator[pa.Table]:
    """Paragraphs as rows, or lines where no blank line parts them."""
    paragraphs = _paragraphs(path)
    if len(list(islice(paragraphs, 2))) > 1:
        notes.append(f"{path.name}: every paragraph is a row (blank lines part them)")
        return rows_to_tables({"text": text} for text in _paragraphs(path))
    notes.append(f"{path.name}: every line is a row (no blank line parts paragraphs)")
    return rows_to_tables({"text": text} for text in _lines(path) if text)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            yield line.rstrip()


def _paragraphs(path: Path) -> Iterator[str]:
    for blank, lines in groupby(_lines(path), key=lambda line: not line):
        if not blank:
            yield "\n".join(lines)


READERS: dict[str, Callable[[Path, list[str]], Iterator[pa.Table]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _comma_separated,
    ".tsv": _tab_separated,
    ".parquet": _parquet,
    ".txt": _text,
}


_OPEN = 'open(PATH, encoding="utf-8-sig")'
_SEPARATED = 'open(PATH, encoding="utf-8-sig", newline="")'
PYTHON: dict[str, tuple[Kind, str, tuple[str, ...]]] = {
    ".jsonl": (
        "list",
        f"[json.loads(line) for line in {_OPEN} if line.strip()]",
        ("import json",),
    ),
    ".json": ("list", f"json.load({_OPEN})", ("import json",)),
    ".csv": ("list", f"list(csv.DictReader({_SEPARATED}))", ("import csv",)),
    ".tsv": ("list", f'list(csv.DictReader({_SEPARATED}, delimiter="\t"))', ("import csv",)),
    ".parquet": ("dataset", "Dataset.from_parquet(PATH)", ("from datasets import Dataset",)),
}
"""How a line of Python reads them; what isn't here takes more than a line."""
