"""Runs that go on from something: an adapter (`--from`), or a run that was stopped (`--resume`)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from nbpeft.errors import AdapterError, DataError, RequestError, quoted
from nbpeft.methods import Method
from nbpeft.request import Request, options, typed
from nbpeft.session.models import Handle
from nbpeft.session.record import Record
from nbpeft.session.session import Session
from nbpeft.settings import Layer

if TYPE_CHECKING:
    from nbpeft.data import Rows


def resumed_of(request: Request, session: Session, handle: Handle) -> Record:
    """The stopped run that `--resume` finishes, or the one whose kernel was killed.

    AdapterError when there is none.
    """
    unfinished = session.shelf.unfinished(request.name)
    if unfinished is not None:
        session.check_model(unfinished, handle)
        return unfinished
    record = session.record(handle, request.name)
    if session.shelf.resume_folder(record) is None:
        state = "was stopped but kept no state to go on from" if record.partial else "is finished"
        raise AdapterError(
            f"{record.label} {state}; leave --resume out to train it again, or go on from it under "
            f"another name with --from {record.name}."
        )
    return record


def merged(now: Request, before: Request) -> Request:
    """The stopped run's request; what is given again must be the same, or it would not go on."""
    words = {}
    for option in options():
        given, was = getattr(now, option.name), getattr(before, option.name)
        if option.name in ("resume", "attach", "dry_run", "name", "fit", "auto") or given == was:
            words[option.name] = given
        elif given == option.default:
            words[option.name] = was
        else:
            _refuse_change(typed(option.name), was, given)
    for word, value in now.fields.items():
        if before.fields.get(word) != value:
            _refuse_change(word, before.fields.get(word), value)
    return Request(**words, fields=before.fields, origins=dict.fromkeys(before.given(), "resumed"))


def _refuse_change(word: str, was: Any, given: Any) -> None:
    raise RequestError(
        f"The stopped run had {word} {quoted(was)}, not {quoted(given)}: --resume finishes it as "
        "it was. Leave it out, or train anew without --resume."
    )


def check_same_rows(resumed: Record | None, rows: Rows) -> None:
    """Refuse to finish a run on other rows than it began with."""
    if resumed is not None and resumed.data.get("fingerprint") != rows.fingerprint:
        raise DataError(
            f"The rows are not those that {resumed.label} was trained on: --resume needs the same. "
            "Give them, or train anew without --resume."
        )


def parent_of(request: Request, session: Session, handle: Handle, method: Method) -> Record | None:
    """The adapter that `--from` names; refused when its method or its shape is to change."""
    if request.from_ is None:
        return None
    parent = session.record(handle, request.from_)
    if parent.path is None:
        raise AdapterError(
            f"{parent.label} is in this kernel only; shelve it first, with "
            f"nbpeft.save({parent.name!r}), then go on from it."
        )
    if parent.name == request.name:
        raise RequestError(
            f"{request.name} can't go on from itself: give the new adapter a name of its own, or "
            "type --resume to finish a run that was stopped."
        )
    if parent.method != method.name:
        raise RequestError(
            f"{parent.label} was trained with {parent.method}, not {method.name}; go on with "
            f"--method {parent.method}."
        )
    fields = {f.name for f in dataclasses.fields(method.config_class())} | set(method.aliases)
    fixed = sorted(fields & set(request.given()))
    if fixed:
        raise RequestError(f"{fixed[0]} comes with {parent.label} (--from); leave it out.")
    return parent


def inherited(parent: Record | None, resumed: Record | None) -> Layer | None:
    """The settings that come with an adapter: its shape, and all of them for a run to finish."""
    if resumed is not None:
        kept = resumed.settings
        return Layer(f"from {resumed.label}", {**kept["trainer"], **kept["method"]})
    if parent is not None:
        return Layer(f"from {parent.label}", parent.settings.get("method", {}))
    return None
