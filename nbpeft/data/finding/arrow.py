"""Arrow tables and `datasets.Dataset`s without traces: no cache files left behind."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

SMALL = 50_000_000
"""Bytes up to which rows are kept in memory; beyond, in a temporary file that is mapped."""


def temporary_folder() -> Path:
    """A new folder for mapped files; tie it to what maps them with `tie`."""
    return Path(tempfile.mkdtemp(prefix="nbpeft-rows-"))


def tie(folder: Path, owner: object) -> None:
    """Remove `folder` when `owner` is freed, or at the latest when Python ends."""
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)


def table_of(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Python columns as a table; a column of mixed types is kept as JSON values.

    NaN becomes null. JSON keeps a bad cell in its row, so that the row can be named later, and a
    column that nobody trains on does no harm.
    """
    import pyarrow as pa

    return pa.table({name: _column(values) for name, values in columns.items()})


def _column(values: Sequence[Any]) -> pa.Array | pa.ChunkedArray:
    import pyarrow as pa

    try:
        column = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return _as_json(values)
    if pa.types.is_dictionary(column.type):  # a pandas categorical
        return column.cast(column.type.value_type)
    return column


def _as_json(values: Iterable[Any]) -> pa.Array:
    import pyarrow as pa

    texts = [None if value is None else json.dumps(value, default=str) for value in values]
    # json.dumps writes NaN as the word NaN, which JSON readers refuse
    texts = [None if text == "NaN" else text for text in texts]
    return pa.array(texts, pa.string()).cast(pa.json_())


def gather(tables: Iterable[pa.Table], spill: bool) -> Dataset:
    """Tables read one after another as one data set; rows keep their order.

    Args:
        tables: their columns may differ: what a table lacks is null there, and a column whose
            types don't agree is kept as JSON values.
        spill: write each to a temporary file and map it, so that memory stays flat.
    """
    import datasets

    folder = temporary_folder() if spill else None
    try:
        parts = [table if folder is None else _spilled(table, folder) for table in tables]
        # without a fingerprint given, datasets would pickle the whole table to hash it for one
        dataset = datasets.Dataset(_joined(parts), fingerprint=secrets.token_hex(8))
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if folder is not None:
        tie(folder, dataset)
    return dataset


def _spilled(table: pa.Table, folder: Path) -> pa.Table:
    import pyarrow as pa

    path = folder / f"{len(list(folder.iterdir()))}.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _joined(parts: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    if not parts:
        return pa.table({})
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        mixed = _disagreeing(parts)
        parts = [
            pa.table(
                {
                    name: _as_json(part[name].to_pylist()) if name in mixed else part[name]
                    for name in part.column_names
                }
            )
            for part in parts
        ]
        return pa.concat_tables(parts, promote_options="permissive")


def _disagreeing(parts: list[pa.Table]) -> set[str]:
    """The columns whose types can't be brought together over the parts."""
    import pyarrow as pa

    mixed = set()
    for name in {name for part in parts for name in part.column_names}:
        with_it = [part.schema for part in parts if name in part.schema.names]
        schemas = [pa.schema([schema.field(name)]) for schema in with_it]
        try:
            pa.unify_schemas(schemas, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            mixed.add(name)
    return mixed
