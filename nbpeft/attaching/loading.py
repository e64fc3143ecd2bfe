"""Adapters from elsewhere: folders and repositories of the hub that PEFT, or a shelf, wrote."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbpeft.attaching.folders import CONFIG, HEAD, TUNED, WEIGHTS, read, read_json
from nbpeft.attaching.hub import download
from nbpeft.data.tokens.rendering import Kind
from nbpeft.errors import AdapterError, did_you_mean, listed, quoted
from nbpeft.session.models import Handle
from nbpeft.session.names import HUB, LONGEST, check_name
from nbpeft.session.record import Record
from nbpeft.session.session import Session
from nbpeft.session.shelf import RECORD
from nbpeft.typed import is_chat

OBJECTIVE = "elsewhere"
"""What a record has for its objective where nothing says what trained it."""


@dataclass(frozen=True)
class Loaded:
    """An adapter that was taken in."""

    record: Record
    notes: tuple[str, ...]
    """What the user should know of it."""


def is_address(given: str) -> bool:
    """Whether this is a path or hub:owner/name, and no adapter's name."""
    if given.startswith((HUB, ".", "~")) or "/" in given or "\\" in given:
        return True
    return any(Path(given, name).is_file() for name in (CONFIG, TUNED, HEAD))


def load(
    session: Session,
    handle: Handle,
    address: str,
    name: str | None = None,
    quantize: str | None = None,
) -> Loaded:
    """Take in the adapter at a path or hub:owner/name, under `name` or that of its folder.

    It lives in this kernel only, until `nbpeft.save(name)`. A folder of this session's own shelf is
    the adapter that it is.

    Raises:
        AdapterError: there is none, it is pickled, or it doesn't fit this model.
    """
    folder = download(address) if address.startswith(HUB) else _folder(address)
    own = _own_record(session, folder)
    if own is not None and name is None:
        return Loaded(session.record(handle, own.label), ())
    told = _told(folder)
    state = quantize or (told.state if told else handle.precision.home)
    with handle.bare(state):
        found = read(handle.root, folder, address)
    record = Record(
        name=check_name(name) if name else _name(told, address, folder),
        version=1,
        method=found.method,
        objective=OBJECTIVE,
        model=handle.fingerprint,
        trainable_parameters=found.mount.trainable_parameters,
        total_parameters=handle.total_parameters,
        settings={"method": dict(found.settings)},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        state=state,
    )
    if told is not None:
        record = replace(told, **{word: getattr(record, word) for word in _ANEW}, path=None, size=0)
    record = replace(record, data={**_asked(record.data), "from": address})
    return Loaded(session.keep_unsaved(handle, record, found.mount), found.notes)


_ANEW = (
    "name", "version", "method", "model", "trainable_parameters", "total_parameters", "state",
)  # fmt: skip
"""What isn't believed of a record that lay in the folder."""


def _asked(data: Mapping[str, Any]) -> dict[str, Any]:
    """How it was asked in training, where that is what a run writes; a comparison goes by it."""
    kept: dict[str, Any] = {}
    rendering, prompts = data.get("rendering"), data.get("prompts")
    if isinstance(rendering, dict) and rendering.keys() <= {"kind", "template"}:
        known = rendering.get("kind") in typing.get_args(Kind)
        if known and isinstance(rendering.get("template"), str | None):
            kept["rendering"] = rendering
    if isinstance(prompts, list) and all(isinstance(p, str) or is_chat(p) for p in prompts):
        kept["prompts"] = prompts
    return kept


def _folder(address: str) -> Path:
    folder = Path(address).expanduser()
    if folder.is_dir():
        return folder.absolute()
    if folder.is_file():
        raise AdapterError(
            f"{quoted(address)} is a file; give the folder in which {CONFIG} and {WEIGHTS} lie."
        )
    beside = [f"{folder.parent}/{p.name}" for p in folder.parent.glob("*")][:1000]
    likely = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", address)
    hub = f" For the hub type hub:{address}." if likely else ""
    raise AdapterError(
        f"There is no folder {quoted(address)}.{did_you_mean(str(folder), beside)}{hub}"
    )


def _own_record(session: Session, folder: Path) -> Record | None:
    """The adapter of this session's shelf that lies in that folder."""
    return next((r for r in session.shelf.records() if r.path == folder.resolve()), None)


def _told(folder: Path) -> Record | None:
    """What another shelf wrote of an adapter; None when it is none, or broken."""
    try:
        return Record.from_dict(read_json(folder / RECORD), folder, 0)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, AdapterError):
        return None


def _name(told: Record | None, address: str, folder: Path) -> str:
    """A name for what has none here: its own on another shelf, or the folder's, made legal."""
    given = told.name if told else address.rstrip("/").rpartition("/")[2]
    given = folder.name if given in (".", "..", "~") else given
    name = re.sub(r"[^A-Za-z0-9_.-]+|\.\.+", "_", given).strip(".-_")[:LONGEST]
    try:
        return check_name(name)
    except AdapterError:
        raise AdapterError(
            f"{quoted(given)} can't be an adapter's name; give it one: "
            f"%peft_attach {listed([address])} --as NAME."
        ) from None
