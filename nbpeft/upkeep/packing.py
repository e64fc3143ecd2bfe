"""An adapter as one file to take away: a zip that plain PEFT loads once it is unzipped."""

from __future__ import annotations

import itertools
import os
import uuid
import zipfile
from pathlib import Path

from nbpeft.errors import AdapterError, RequestError, RunError, quoted
from nbpeft.session.record import Record
from nbpeft.session.session import Session
from nbpeft.upkeep.finding import own

END = ".zip"
KINDS = (".safetensors", ".json")
"""Of the files that go into it: weights, their config and the record; no state of a run."""
UNDONE = ".nbpeft-export-"


def pack(session: Session, label: str, to: str | None = None) -> tuple[Record, Path]:
    """Write an adapter's files into a zip, in a folder of its name; the adapter and the file.

    Args:
        to: the file; by default NAME.zip in the working directory, or NAME-2.zip where that is
            taken.

    Raises:
        AdapterError: a name that isn't there, or that isn't on the shelf.
        RequestError: a file that isn't free; nothing is written over.
        RunError: it can't be written; nothing is left of it.
    """
    own(session, label, "exported")
    record, _ = session.find(label)
    if record.path is None:
        raise AdapterError(
            f"{record.label} is in this kernel only; shelve it first, with "
            f"nbpeft.save({record.name!r}), then export it."
        )
    path = _unused(label) if to is None else _free(to, session.shelf.folder)
    try:
        _write(record.path, record.name, path)
    except FileExistsError:
        raise _taken(str(path)) from None
    except OSError as error:
        why = quoted(" ".join(str(error).split()), 200)[1:-1]
        raise RunError(
            f"{record.label} can't be written to {quoted(str(path), 200)}: {why}. Nothing is left "
            "of it."
        ) from error
    return record, path


def _unused(label: str) -> Path:
    """pirate.zip, pirate-2.zip, …: the first that isn't there."""
    for number in itertools.count(1):
        path = Path.cwd() / f"{label}{f'-{number}' if number > 1 else ''}{END}"
        if not _exists(path):
            break
    return path


def _free(to: str, shelf: Path) -> Path:
    """The file that `to` names, in a folder that is there."""
    path = Path(to).expanduser().absolute()
    if path.suffix.lower() != END:
        raise RequestError(f"An adapter is exported into a zip, and {quoted(to, 200)} has another "
                           f"end; give --to NAME{END}.")  # fmt: skip
    if _exists(path):
        raise _taken(to)
    if not path.parent.is_dir():
        raise RequestError(
            f"There is no folder {quoted(str(path.parent), 200)}; make it, or give another file."
        )
    if path.resolve().is_relative_to(shelf.resolve()):
        raise RequestError(
            f"{quoted(to, 200)} lies in the folder of the adapters, which holds nothing else; give "
            "--to a file outside."
        )
    return path


def _exists(path: Path) -> bool:
    """Also a link that leads nowhere is something."""
    return path.is_symlink() or path.exists()


def _taken(to: str) -> RequestError:
    return RequestError(
        f"There is something at {quoted(to, 200)} already, and nothing is written over; give --to "
        "another file."
    )


def _write(folder: Path, name: str, path: Path) -> None:
    """Beside its place first, then there in one step, which fails where something is."""
    undone = path.with_name(f"{UNDONE}{uuid.uuid4().hex}{END}")
    try:
        with zipfile.ZipFile(undone, "x") as archive:
            for source in sorted(folder.iterdir()):
                if source.suffix in KINDS and source.is_file() and not source.is_symlink():
                    archive.write(source, f"{name}/{source.name}")  # weights don't get smaller
        _place(undone, path)
    finally:
        undone.unlink(missing_ok=True)


def _place(undone: Path, path: Path) -> None:
    try:
        os.link(undone, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without links
        if _exists(path):
            raise FileExistsError(str(path)) from None
        undone.rename(path)
