"""Where a script's rows come from, and which of them are held out."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nbpeft.data.splitting.split import SEED
from nbpeft.scripts.own import OwnError
from nbpeft.scripts.writing import WIDTH, Piece, folded, literal, names, quoted

if TYPE_CHECKING:
    from nbpeft.data import Rows
    from nbpeft.data.splitting.parts import Part
    from nbpeft.prepare import Prepared

FILES = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
"""By a file's ending: what `load_dataset` calls its kind."""
FEW = 2_000
"""Numbers of rows that a script may hold."""


@dataclass(frozen=True)
class Parted:
    """The parts of a run's rows, each of one source."""

    train: Part
    held_out: Part | None
    apart: bool
    """Whether what is held out is a source of its own."""


def parted(rows: Rows) -> Parted:
    """The one source to train on, and what is held out of it or beside it.

    Raises:
        OwnError: rows come from several sources, or were made of others.
    """
    parts = rows.parts
    if parts is None:
        raise OwnError("these rows were made by nbpeft itself")
    if len(parts.read) > 1:
        raise OwnError("a mix of data sets by shares is nbpeft's own: give one of them")
    train = parts.train[0]
    if train.remark:
        raise OwnError(f"judgements of one kind {train.remark}: that is nbpeft's own")
    if len(parts.held_out) > 1:
        raise OwnError("held-out rows of several sources are nbpeft's own: give one of them")
    held_out = parts.held_out[0] if parts.held_out else None
    if held_out is not None and held_out.remark:
        raise OwnError(f"judgements of one kind {held_out.remark}: that is nbpeft's own")
    return Parted(train, held_out, held_out is not None and parts.asked is None)


@dataclass(frozen=True)
class Loading:
    """An expression of a source's rows."""

    code: str
    before: tuple[str, ...] = ()
    """Lines that say what to write in the notebook first."""
    imports: frozenset[tuple[str, str]] = names("datasets", "load_dataset")


def loading(part: Part, given: str | None) -> Loading:
    """How the rows of a part are loaded.

    Args:
        given: what the user typed; None for an object.

    Raises:
        OwnError: it takes nbpeft's reading.
    """
    label, origin = part.label, part.origin
    if given is not None and origin is not None and label.startswith("hub:"):
        name, _, split = given.removeprefix("hub:").partition(":")
        split = split or origin.split or "train"
        return Loading(f"load_dataset({quoted(name)}, split={quoted(split)})")
    if given is not None and label.startswith("tiny:"):
        stem = label.removeprefix("tiny:")
        return _written(stem, f"nbpeft.load_data({quoted(stem)}).to_json(FILE)")
    ending = Path(label).suffix.lower()
    if given is not None and ending in FILES and not label.isidentifier():
        return _file(part, ending)
    if origin is None:
        raise OwnError(f"the reading of {quoted(label)} is nbpeft's own: give a .jsonl file")
    if origin.made and "load_from_disk" in origin.made:
        code = origin.made + ("" if origin.split is None else f"[{quoted(origin.split)}]")
        return Loading(code, imports=names("datasets", "load_from_disk"))
    return _variable(part, given)


def _file(part: Part, ending: str) -> Loading:
    if part.origin is None:
        raise OwnError(
            f"the reading of {quoted(part.label)} is nbpeft's own: give a .jsonl file, or a .json "
            "file that is a list"
        )
    separator = ', sep="\\t"' if ending == ".tsv" else ""
    file = f"data_files={quoted(part.label)}{separator}"
    return Loading(f'load_dataset("{FILES[ending]}", {file}, split="train")')


def _variable(part: Part, given: str | None) -> Loading:
    """Rows of the kernel, as a file that the user writes there first."""
    assert part.origin is not None  # `loading` looked
    origin = part.origin
    stem = origin.name if given is not None and origin.name.isidentifier() else "rows"
    rows = stem
    if origin.split is not None:
        rows = f"{stem}[{quoted(origin.split)}]"
        stem += f"-{re.sub(r'[^A-Za-z0-9]', '-', origin.split)}"
    told = "" if given is not None else "  # rows: what was given as data"
    if origin.kind == "frame":
        return _written(stem, f'{rows}.to_json(FILE, orient="records", lines=True){told}')
    makes = {
        "dataset": rows,
        "list": f"datasets.Dataset.from_list({rows})",
        "strings": f'datasets.Dataset.from_dict({{"text": {rows}}})',
    }[origin.kind]
    if "from_dict" in origin.made:
        makes = f"datasets.Dataset.from_dict({rows})"
    return _written(stem, f"{makes}.to_json(FILE){told}")


def _written(stem: str, line: str) -> Loading:
    file = quoted(f"{stem}.jsonl")
    before = (line.replace("FILE", file),)
    return Loading(f'load_dataset("json", data_files={file}, split="train")', before)


def splitting(ready: Prepared, parts: Parted, steps: Sequence[str]) -> tuple[Piece, list[str]]:
    """The rows of a script, and what to write in the notebook before it runs.

    Args:
        steps: lines that make rows ready for the trainer, with ROWS for what they are bound to.
    """
    request = ready.request
    source = loading(parts.train, request.data)
    train = "rows" if parts.held_out is not None and not parts.apart else "train"
    lines = [_bound(train, source.code), *(step.replace("ROWS", train) for step in steps)]
    before, imports = [*source.before], source.imports
    if parts.held_out is not None and parts.apart:
        evaluated = request.eval if isinstance(request.eval, str) else request.data
        own = loading(parts.held_out, evaluated)
        before += own.before
        imports |= own.imports
        lines += [_bound("held_out", own.code), *_some(parts.held_out)]
        lines += [step.replace("ROWS", "held_out") for step in steps]
    elif parts.held_out is not None:
        piece = _numbers(list(parts.held_out.numbers), len(parts.train) + len(parts.held_out))
        imports |= piece.imports
        lines += [
            *piece.code.split("\n"),
            "train = rows.select([n for n in range(len(rows)) if n not in HELD_OUT])",
            "held_out = rows.select(sorted(HELD_OUT))",
        ]
    return Piece("\n".join(lines), imports), list(dict.fromkeys(before))


def _bound(name: str, code: str) -> str:
    """`name = code`, a word a line where that is too long."""
    line = f"{name} = {code}"
    opening, _, words = code.removesuffix(")").partition("(")
    if len(line) <= WIDTH:
        return line
    return f"{name} = {opening}(\n    {words}\n)" if len(words) < WIDTH else folded(line)


def _some(part: Part) -> list[str]:
    """Of a source of its own those rows that are held out."""
    numbers = list(part.numbers)
    if numbers == list(range(len(numbers))):
        return []
    return [
        "# As many as nbpeft reads while it trains.",
        f"held_out = held_out.select({literal(numbers, 0, 29)})",
    ]


def _numbers(numbers: list[int], rows: int) -> Piece:
    """Which rows are held out: as nbpeft draws them, or by number where copies stay together."""
    drawn = random.Random(SEED).sample(range(rows), len(numbers))
    if sorted(drawn) == numbers:
        sample = f"random.Random({SEED}).sample(range(len(rows)), {len(numbers)})"
        remark = "# The same rows whatever the seed of the run, so that losses of runs compare."
        return Piece(f"{remark}\nHELD_OUT = set({sample})", names("random"))
    if len(numbers) > FEW:
        raise OwnError(
            f"which {len(numbers):,} rows are held out is nbpeft's own, as copies of a row stay "
            "together: give held-out rows of their own, or fewer"
        )
    remark = "# Row numbers: no copy of a held-out row is trained on."
    return Piece(f"{remark}\nHELD_OUT = {literal(numbers, 0, len('HELD_OUT = '))}")
