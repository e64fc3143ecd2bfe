"""The runs of a chain, as requests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from nbpeft.errors import AdapterError
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.objectives._chained import OWN
from nbpeft.request import Request, options
from nbpeft.session.session import Session
from nbpeft.settings import Fields

SFT_SUFFIX = "-sft"


def supervised(request: Request, rows: Path) -> Request:
    """The run on revisions, whose adapter is NAME-sft."""
    fields = Fields(methods.get(request.method), objectives.get("sft"))
    own = {word: value for word, value in request.fields.items() if fields.has(word)}
    return _stage(
        request,
        name=request.name + SFT_SUFFIX,
        objective="sft",
        data=str(rows),
        columns={"prompt": "prompt", "completion": "completion"},
        learning_rate=request.fields.get("sft_learning_rate"),
        fields={word: value for word, value in own.items() if word not in OWN},
        attach=False,
    )


def preferred(request: Request, rows: Path, start: str | None) -> Request:
    """The run on pairs, from the adapter that they were sampled from."""
    fields = {word: value for word, value in request.fields.items() if word not in OWN}
    words: dict[str, Any] = {"objective": "dpo", "data": str(rows), "columns": None}
    if start is not None and start != request.from_:  # its shape comes with it
        method = methods.get(request.method)
        shape = {f.name for f in dataclasses.fields(method.config_class())} | set(method.aliases)
        words |= {o.name: o.default for o in options() if o.name in shape}
        fields = {word: value for word, value in fields.items() if word not in shape}
    return _stage(request, **words, from_=start, fields=fields)


LABELS_SUFFIX = "-labels"


def without_teacher(request: Request) -> Request:
    """The run on the rows' own answers alone, whose adapter is NAME-labels."""
    fields = Fields(methods.get(request.method), objectives.get("sft"))
    own = {word: value for word, value in request.fields.items() if fields.has(word)}
    return dataclasses.replace(
        _stage(request, name=request.name + LABELS_SUFFIX, objective="sft", fields=own),
        eval=request.eval,
        attach=False,
    )


def _stage(request: Request, **words: Any) -> Request:
    """The request with these words, and without what only the chain acts on."""
    signals = {o.name: o.default for o in options() if o.metadata["signal"]}
    eval_ = request.eval if isinstance(request.eval, int | float) else None
    return dataclasses.replace(request, **{**signals, "eval": eval_, "dry_run": False, **words})


def stopped(session: Session, name: str) -> bool:
    """Whether a run of that name was stopped and can be finished."""
    if session.shelf.unfinished(name) is not None:
        return True
    try:
        record, _ = session.find(name)
    except AdapterError:
        return False
    return session.shelf.resume_folder(record) is not None
