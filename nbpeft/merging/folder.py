"""The folder of a merged model: checked before anything is done, written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from nbpeft.errors import NbPeftError, RequestError, RunError, quoted

UNDONE = ".nbpeft-merge-"


def free(to: str, shelf: Path) -> Path:
    """The place that `to` names, where a folder can be put; RequestError says why it can't be.

    Args:
        shelf: the folder of adapters, in which there is no place for models.
    """
    path = Path(to).expanduser().absolute()
    if path.is_symlink():
        raise RequestError(
            f"{quoted(to, 200)} is a link, and nothing is written through links; give --to "
            "another folder."
        )
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise RequestError(
            f"There is something at {quoted(to, 200)} already, and nothing is written over; give "
            "--to another folder, or remove that one."
        )
    if path.resolve().is_relative_to(shelf.resolve()):
        raise RequestError(
            f"{quoted(to, 200)} lies in the folder of the adapters, which holds nothing else; give "
            "--to a folder outside."
        )
    if not _nearest(path).is_dir():
        raise RequestError(
            f"{quoted(str(_nearest(path)), 200)} is a file, so that no folder can lie in it; give "
            "--to another folder."
        )
    return path


def put(path: Path, write: Callable[[Path], None]) -> int:
    """Put a folder at a free place, with what `write` writes into it; returns its bytes.

    It is written into a temporary folder on the same disk and renamed.

    Raises:
        RunError: it can't be written (a full disk, say); nothing is left of it.
    """
    try:
        with tempfile.TemporaryDirectory(
            dir=_nearest(path), prefix=UNDONE, ignore_cleanup_errors=True
        ) as temporary:
            folder = Path(temporary) / "model"
            folder.mkdir()
            write(folder)
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                path.rmdir()  # it is empty, or this fails
            folder.rename(path)
    except NbPeftError:
        raise
    except Exception as error:  # what libraries raise while they write has no common root
        why = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"The merged model can't be written to {quoted(str(path), 200)}: "
            f"{quoted(why, 200)[1:-1]}. Nothing is left of it; the kernel's model is as it was."
        ) from error
    return size


def _nearest(path: Path) -> Path:
    """What there is of the way to it."""
    return next(above for above in path.parents if above.exists())
