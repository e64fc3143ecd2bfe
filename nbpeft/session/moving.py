"""Adapters on the shelf under another name, and off it.

A renamed adapter is built whole beside its place, of links to its files and of new records, and
then takes it: a kernel that is killed meanwhile leaves the old name, or both. What is deleted is
moved out of the shelf first, each version by one rename, and then thrown away.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nbpeft.errors import AdapterError, quoted
from nbpeft.session.names import relabelled
from nbpeft.session.record import is_newer
from nbpeft.session.shelf import RECORD, UNDONE, UNFINISHED, Shelf, _lock, _sweep

CHAIN = "feedback/chain.json"
"""Where a chain keeps what was asked (nbpeft/chains/kept.py)."""
BESIDE = ("feedback", "targets", f"{UNFINISHED}*")
"""What is kept beside the versions of an adapter."""
LOCK = ".lock"


def is_free(shelf: Shelf, name: str) -> bool:
    """Whether nothing lies where an adapter of that name would."""
    home = shelf.folder / name
    return not home.is_symlink() and (not home.exists() or _is_empty(home))


def rename(shelf: Shelf, names: Mapping[str, str]) -> None:
    """Give adapters new names, to all of their versions and what is kept beside.

    Other adapters' records that tell of them have the new names, too.

    Args:
        names: old -> new; the new ones are free (see `is_free`).

    Raises:
        AdapterError: it can't be; the shelf is as before.
    """
    with _changing(shelf, [shelf.folder / name for name in names]) as temporary:
        _refuse_newer(shelf, names)
        for name, to in names.items():
            shutil.copytree(
                shelf.folder / name, temporary / to, symlinks=True, copy_function=_link,
                ignore=shutil.ignore_patterns(LOCK, f"{UNDONE}*"),
            )  # fmt: skip
            for path in _records(temporary / to):
                _rewrite(path, path, names, shelf.folder)
        retold = _retold(shelf, names, temporary)
        with contextlib.ExitStack() as undo:
            for to in names.values():
                (temporary / to).rename(shelf.folder / to)
                undo.callback((shelf.folder / to).rename, temporary / to)
            for name in names:
                (shelf.folder / name).rename(temporary / f"{UNDONE}{name}")
                undo.callback((temporary / f"{UNDONE}{name}").rename, shelf.folder / name)
            undo.pop_all()
        for new, path in retold.items():
            with contextlib.suppress(OSError):  # gone since
                new.replace(path)


def delete(shelf: Shelf, name: str, version: int | None = None) -> None:
    """Take a version off the shelf; without one, or where it is the last, all that is kept.

    Links are taken away, never followed; what is no part of an adapter stays where it is.

    Raises:
        AdapterError: it can't be moved away.
    """
    home = shelf.folder / name
    with _changing(shelf, [home]) as temporary:
        versions = [path for path in home.iterdir() if path.name.isdecimal()]
        gone = [path for path in versions if version is None or path.name == str(version)]
        if len(gone) == len(versions) and (version is None or shelf.unfinished(name) is None):
            gone += [path for kind in BESIDE for path in home.glob(kind)]
        for path in gone:
            path.rename(temporary / path.name)
        if _is_empty(home):
            home.rename(temporary / f"{UNDONE}{name}")


@contextlib.contextmanager
def _changing(shelf: Shelf, homes: list[Path]) -> Iterator[Path]:
    """A folder for what is not done yet, and is thrown away, with the locks of adapters."""
    for home in homes:
        if home.is_symlink():
            raise AdapterError(
                f"{quoted(str(home))} is a link, and nothing is changed through links: remove it."
            )
    try:
        with contextlib.ExitStack() as stack:
            for home in sorted(homes):
                stack.enter_context(_lock(home))
            _sweep(shelf.folder)
            yield Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(
                        dir=shelf.folder, prefix=UNDONE, ignore_cleanup_errors=True
                    )
                )
            )
    except (OSError, shutil.Error) as error:
        why = quoted(" ".join(str(error).split()), 200)[1:-1]
        raise AdapterError(f"The shelf can't be changed: {why}.") from error


def _is_empty(home: Path) -> bool:
    """Whether nothing is in it but its lock."""
    return home.is_dir() and all(path.name == LOCK for path in home.iterdir())


def _link(source: str, place: str) -> None:
    """The same file in a second place, or a copy of it where the disk has no links."""
    try:
        os.link(source, place, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, place, follow_symlinks=False)


def _records(home: Path) -> Iterator[Path]:
    """The files in an adapter's folder that tell of adapters; none through links."""
    found = [*home.glob(f"*/{RECORD}"), home / CHAIN]
    for path in found:
        if path.is_file() and not any(p.is_symlink() for p in (home, path.parent, path)):
            yield path


def _refuse_newer(shelf: Shelf, names: Mapping[str, str]) -> None:
    for name in names:
        for path in _records(shelf.folder / name):
            told = _read(path)
            if told is not None and is_newer(told):
                raise AdapterError(
                    f"{quoted(f'{name}/{path.parent.name}')} was written by a newer nbpeft, and "
                    "this one can't rename it; pip install -U nbpeft."
                )


def _retold(shelf: Shelf, names: Mapping[str, str], temporary: Path) -> dict[Path, Path]:
    """The records of other adapters that tell of those renamed: the new file -> its place."""
    retold: dict[Path, Path] = {}
    for home in shelf.folder.iterdir():
        if home.name not in names and not home.name.startswith(UNDONE):
            for path in _records(home):
                new = temporary / f"record-{len(retold)}.json"
                if _rewrite(path, new, names, shelf.folder):
                    retold[new] = path
    return retold


def _rewrite(path: Path, to: Path, names: Mapping[str, str], folder: Path) -> bool:
    """Write what a file tells with the new names; False, and nothing, where it is the same."""
    told = _read(path)
    if told is None or is_newer(told):
        return False
    new = _renamed(told, names, folder)
    if new == told:
        return False
    beside = to.with_name(f"{to.name}.new")  # never into a file that another place links to
    beside.write_text(json.dumps(new, indent=1))
    beside.replace(to)
    return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _renamed(told: dict[str, Any], names: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """A record, or what was asked of a chain, with the new names."""
    new = {**told, **_relabelled(told, ("name", "parent"), names)}
    asked = told.get("request")
    if isinstance(asked, dict):
        moved = {word: _moved(value, names, folder) for word, value in asked.items()}
        new["request"] = {**moved, **_relabelled(asked, ("name", "from"), names)}
    return new


def _relabelled(
    told: Mapping[str, Any], words: tuple[str, ...], names: Mapping[str, str]
) -> dict[str, str]:
    found = {word: told.get(word) for word in words}
    return {w: relabelled(value, names) for w, value in found.items() if isinstance(value, str)}


def _moved(value: Any, names: Mapping[str, str], folder: Path) -> Any:
    """A path into a renamed adapter's folder leads into its new one."""
    for name, to in names.items():
        start = f"{folder / name}{os.sep}"
        if isinstance(value, str) and value.startswith(start):
            return f"{folder / to}{os.sep}{value[len(start) :]}"
    return value
