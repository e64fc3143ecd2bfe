"""The file that ratings grow in: a line an answer, written card by card, back after a restart.

`ratings/NAME.jsonl` beside the adapters. A card goes to the disk in one write, under a lock, before
the next is shown. A line that a killed kernel left half written is cut off; `--data` reads the file
as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nbpeft.errors import DataError, quoted
from nbpeft.rating.deck import Rated
from nbpeft.rating.ratings import Ratings, Row, alike

FOLDER = "ratings"
COLUMNS = ("prompt", "completion", "score", "adapter", "group", "seed")
"""What every row has; `rated` (when, by the clock of the machine) stands beside."""


class Book:
    """One file of ratings, and the same as a list in the kernel."""

    def __init__(self, folder: Path, name: str) -> None:
        """Read what there is. DataError for a file that holds something else; nothing is made."""
        self.path = folder / f"{name}.jsonl"
        for path in (folder, self.path):
            if path.is_symlink():
                raise DataError(
                    f"{quoted(str(path))} is a link, and nothing is written through links: remove "
                    "it, or give another name with --into NAME."
                )
        self.rows = _read(self.path)
        """As the file has them."""
        self.ratings = Ratings(alike(self.rows))

    def add(self, rated: Rated) -> str:
        """Keep a card that was rated; the name of its group, to `drop` it by.

        DataError where it can't be written; nothing is kept then.
        """
        group, now = uuid.uuid4().hex[:12], time.strftime("%Y-%m-%dT%H:%M:%S%z")
        rows = [
            {
                "prompt": rated.card.prompt,
                "completion": _completion(rated.card.prompt, answer.text),
                "score": score,
                "adapter": adapter,
                "group": group,
                "seed": rated.card.seed,
                "rated": now,
            }
            for answer, score in zip(rated.card.answers, rated.scores, strict=True)
            for adapter in answer.adapters
        ]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        with self._locked():
            _append(self.path, text)
            self._now(_read(self.path))  # with what was rated elsewhere meanwhile
        return group

    def drop(self, group: str) -> None:
        """Take a card out again: the file is written anew beside its place, then renamed."""
        with self._locked():
            kept = [row for row in _read(self.path) if row["group"] != group]
            _replace(self.path, kept)
            self._now(kept)

    def _now(self, rows: list[Row]) -> None:
        self.rows = rows
        self.ratings[:] = alike(rows)  # the user's variable is this very list

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, across kernels."""
        from filelock import FileLock

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock")):
                yield
        except OSError as error:
            raise DataError(
                f"{quoted(str(self.path), 200)} can't be written ({error.strerror}), and the "
                "rating isn't kept; make room for it, and choose again."
            ) from error


def _completion(prompt: Any, text: str) -> Any:
    """As rows have it: beside a chat, a chat."""
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]


def _read(path: Path) -> list[Row]:
    """Every row; what stands behind the last line's end was never whole."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    return [_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        row: Row = json.loads(line)
        if set(COLUMNS) <= set(row) and isinstance(row["score"], int | float):
            return row
    except (ValueError, TypeError, RecursionError):
        pass
    raise DataError(
        f"Line {number} of {quoted(str(path), 200)} is no rating; take the line out, or give "
        "another name with --into NAME."
    )


def _append(path: Path, text: str) -> None:
    """Add whole lines at the end of a file; a line that was left half written goes first."""
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        if whole < end:
            file.truncate(whole)
        try:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(whole)  # no half card
            raise


def _replace(path: Path, rows: Iterable[Row]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
