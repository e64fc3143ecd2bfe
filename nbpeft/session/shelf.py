"""The shelf: adapters as folders, `adapters/NAME/VERSION/`, back after a kernel restart.

Every folder loads with plain `PeftModel.from_pretrained`. A folder is written whole beside its
place and then renamed, under one lock a name, so that a full disk or a killed kernel never leaves
half an adapter. Only JSON and safetensors are read here; a run's resume state is read by the
trainer with weights_only=True, and only from here.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nbpeft.errors import AdapterError, did_you_mean, listed, quoted
from nbpeft.session.names import check_name, split_label
from nbpeft.session.record import Record, is_newer

if TYPE_CHECKING:
    from filelock import FileLock

RECORD = "nbpeft.json"
RESUME = "resume"
WEIGHTS = "*.safetensors"
UNDONE = ".new-"
UNFINISHED = ".unfinished-"
FORGOTTEN = 3600.0
"""Seconds after which what is half written won't be finished."""
PATIENCE = 1.0
"""Seconds that the lock is waited for without a word."""
_UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, AdapterError
)  # fmt: skip


class Shelf:
    """One adapters folder; made when the first adapter is put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def records(self) -> list[Record]:
        """Every version of every name, by name and version; what isn't ours is skipped."""
        found = (_read(path.parent) for path in self.folder.glob(f"*/*/{RECORD}"))
        return sorted((r for r in found if r), key=lambda r: (r.name, r.version))

    def get(self, label: str, others: Iterable[str] = ()) -> Record:
        """The record of NAME (its newest version) or NAME@VERSION.

        `others` are names that stand elsewhere, and may have been meant.
        """
        name, version = split_label(label)
        versions = {r.version: r for r in self._versions(name)}
        self._refuse_newer(name, version, max(versions, default=0))
        if not versions:
            names = sorted({r.name for r in self.records()} | set(others))
            raise AdapterError(
                f"There is no adapter {quoted(name)}.{did_you_mean(name, names)} "
                f"The adapters are: {listed(names)}."
            )
        if version is not None and version not in versions:
            near = did_you_mean(label, [r.label for r in versions.values()])
            raise AdapterError(
                f"{name} has no version {version}; it has {listed(map(str, sorted(versions)))}."
                f"{near}"
            )
        return versions[max(versions) if version is None else version]

    def next_version(self, name: str) -> int:
        """The version that the next `put` under this name gets."""
        # Folders that can't be read count too: `put` can't take their place.
        places = (path.name for path in (self.folder / name).glob("*"))
        return max((int(place) for place in places if place.isdecimal()), default=0) + 1

    def put(
        self,
        record: Record,
        write: Callable[[Path], None],
        resume: Path | None = None,
        keep: int = 3,
    ) -> Record:
        """Shelve one adapter: `write(folder)` its files, the record beside them.

        Takes the next free version (from `record.version` on), prunes all but `keep` earlier ones,
        and returns the record with its version, path and size. Whatever fails, the shelf is as
        before.
        """
        check_name(record.name)
        home = self.folder / record.name
        if home.is_symlink():
            raise AdapterError(
                f"{quoted(str(home))} is a link, and nothing is written through links: remove it, "
                "or give the adapter another name."
            )
        home.mkdir(parents=True, exist_ok=True)
        with (
            _lock(home),
            tempfile.TemporaryDirectory(
                dir=home, prefix=UNDONE, ignore_cleanup_errors=True
            ) as temporary,
        ):
            folder = Path(temporary) / "adapter"
            folder.mkdir()
            write(folder)
            version = max(record.version, self.next_version(record.name))
            record = replace(record, version=version)
            (folder / RECORD).write_text(json.dumps(record.to_dict(), indent=1))
            if resume is not None:
                shutil.copytree(resume, folder / RESUME)
            place = home / str(record.version)
            folder.rename(place)
            self._prune(record.name, keep, Path(temporary))
        return replace(record, path=place, size=_size(place))

    def resume_folder(self, record: Record) -> Path | None:
        """Where the resume state of a stopped run lies."""
        folder = record.path / RESUME if record.path else None
        return folder if folder and folder.is_dir() else None

    def drop_resume(self, record: Record) -> None:
        """The stopped run has been finished: its resume state (optimizer) is of no more use."""
        folder = self.resume_folder(record)
        if folder:
            shutil.rmtree(folder)

    def put_unfinished(self, record: Record, resume: Path) -> None:
        """Keep the state of a run that goes on, in the place of an earlier one.

        It lies beside the versions and is none: there is no adapter in it. A kernel that is killed
        meanwhile leaves this state or the earlier one.
        """
        check_name(record.name)
        home = self.folder / record.name
        if home.is_symlink():
            return
        home.mkdir(parents=True, exist_ok=True)
        with (
            _lock(home),
            tempfile.TemporaryDirectory(
                dir=home, prefix=UNDONE, ignore_cleanup_errors=True
            ) as temporary,
        ):
            earlier = list(home.glob(f"{UNFINISHED}*"))
            new = Path(temporary) / "run"
            shutil.copytree(resume, new / RESUME)
            (new / RECORD).write_text(json.dumps(record.to_dict(), indent=1))
            new.rename(home / f"{UNFINISHED}{time.time_ns()}")
            for folder in earlier:
                shutil.rmtree(folder, ignore_errors=True)

    def unfinished(self, name: str) -> Record | None:
        """The run of this name whose kernel was killed, with the state that it had come to."""
        return _newest_unfinished(self.folder / check_name(name))

    def all_unfinished(self) -> list[Record]:
        """One a name."""
        homes = sorted({path.parent for path in self.folder.glob(f"*/{UNFINISHED}*")})
        return [record for home in homes if (record := _newest_unfinished(home))]

    def drop_unfinished(self, name: str) -> None:
        """A run of this name has come to its end."""
        for folder in (self.folder / name).glob(f"{UNFINISHED}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _refuse_newer(self, name: str, wanted: int | None, newest: int) -> None:
        """A version that a nbpeft to come wrote is no reason to give another one."""
        for path in (self.folder / name).glob(f"*/{RECORD}"):
            place = path.parent.name
            asked = place.isdecimal() and int(place) == wanted
            if (asked or (wanted is None and place.isdecimal() and int(place) > newest)) and (
                _is_newer(path)
            ):
                raise AdapterError(
                    f"{name}@{place} was written by a newer nbpeft, which this one can't read; "
                    "pip install -U nbpeft, or name an earlier version."
                )

    def _versions(self, name: str) -> list[Record]:
        found = (_read(path.parent) for path in (self.folder / name).glob(f"*/{RECORD}"))
        return [r for r in found if r]

    def _prune(self, name: str, keep: int, temporary: Path) -> None:
        """Move the oldest versions to where they are thrown away: whole, or not at all."""
        versions = sorted(r.version for r in self._versions(name))
        for version in versions[: max(0, len(versions) - 1 - keep)]:
            with contextlib.suppress(OSError):
                (self.folder / name / str(version)).rename(temporary / str(version))


def _read(folder: Path) -> Record | None:
    """The record in a folder; None when it holds none, or one that isn't what its place says.

    Links are not followed: nothing outside the shelf is read.
    """
    try:
        if any(path.is_symlink() for path in (folder.parent, folder, *folder.iterdir())):
            return None
        check_name(folder.parent.name)
        record = Record.from_dict(json.loads((folder / RECORD).read_text()), folder, _size(folder))
    except _UNREADABLE:
        return None
    matches = (folder.parent.name, folder.name) == (record.name, str(record.version))
    return record if matches and record.version > 0 else None


def _newest_unfinished(home: Path) -> Record | None:
    found = sorted(home.glob(f"{UNFINISHED}*"), reverse=True)
    return next((record for folder in found if (record := _read_unfinished(folder))), None)


def _read_unfinished(folder: Path) -> Record | None:
    """The record of a run's state; None when it holds none. Links are not followed here either."""
    resume = folder / RESUME
    try:
        if any(path.is_symlink() for path in (folder.parent, folder, resume, *resume.iterdir())):
            return None
        check_name(folder.parent.name)
        record = Record.from_dict(json.loads((folder / RECORD).read_text()), folder, 0)
    except _UNREADABLE:
        return None
    told = isinstance(record.metrics.get("steps"), int)
    return record if told and record.name == folder.parent.name else None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(WEIGHTS))


def _is_newer(path: Path) -> bool:
    try:
        return is_newer(json.loads(path.read_text()))
    except _UNREADABLE:
        return False


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    """One writer at a time, across kernels; whoever waits for long is told what for."""
    from filelock import FileLock, Timeout

    lock = FileLock(home / ".lock")
    try:
        _acquire(lock, home, PATIENCE)
    except Timeout:
        where = quoted(str(home), 200)
        print(f"[nbpeft] waiting: another kernel is writing an adapter into {where}")  # noqa: T201
        _acquire(lock, home, -1)
    try:
        home.mkdir(parents=True, exist_ok=True)
        _sweep(home)
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, home: Path, timeout: float) -> None:
    """Also where the folder is renamed or deleted by whoever has the lock."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            home.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout)
            return


def _sweep(home: Path) -> None:
    """Throw away what kernels that were killed left half written."""
    for folder in home.glob(f"{UNDONE}*"):
        if time.time() - folder.stat().st_mtime > FORGOTTEN and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
