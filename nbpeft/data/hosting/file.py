"""A JSONL file: put where there is none yet, whole or not at all, and read back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nbpeft.data.hosting.service import Kind
from nbpeft.errors import RequestError, RunError, quoted

SUFFIX = ".jsonl"


def free(given: str) -> Path:
    """The place that `given` names; RequestError says why no file can be put there."""
    path = Path(given).expanduser().absolute()
    if path.suffix != SUFFIX:
        raise RequestError(
            f"The file {quoted(given, 200)} must end in {SUFFIX}: services take no other."
        )
    if path.exists() or path.is_symlink():
        raise RequestError(
            f"There is something at {quoted(given, 200)} already, and nothing is written over; "
            "give another name, or remove that file."
        )
    if not _nearest(path).is_dir():
        raise RequestError(
            f"{quoted(str(_nearest(path)), 200)} is a file, so that none can lie in it; give "
            "another folder."
        )
    return path


def put(path: Path, texts: Sequence[str], kind: Kind) -> int:
    """Write lines, read them back, and put the file at its place; returns its bytes.

    Raises:
        RunError: it can't be written (a full disk, say), or what was read back isn't what was
            written; nothing is left of it.
    """
    try:
        with tempfile.TemporaryDirectory(
            dir=_nearest(path), prefix=".nbpeft-export-", ignore_cleanup_errors=True
        ) as folder:
            written = Path(folder) / path.name
            with written.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{text}\n" for text in texts)
            _check(written, texts, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            written.rename(path)
            return path.stat().st_size
    except (OSError, UnicodeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"{quoted(str(path), 200)} can't be written: {quoted(why, 200)[1:-1]}. Nothing is left "
            "of it."
        ) from error


def _check(written: Path, texts: Sequence[str], kind: Kind) -> None:
    """The file holds the rows, a line each, and each is as the service wants it."""
    with written.open(encoding="utf-8", newline="\n") as file:
        lines = [json.loads(line) for line in file]
    if len(lines) != len(texts) or any(kind.problems(line) for line in lines):
        raise OSError("what was read back isn't what was written")


def _nearest(path: Path) -> Path:
    """What there is of the way to it."""
    return next(above for above in path.parents if above.exists())
