"""From what was asked for to a model that answers as it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nbpeft.attaching.by_hand import Sizes, set_up, sizes
from nbpeft.attaching.loading import load
from nbpeft.attaching.request import AttachRequest
from nbpeft.errors import listed, quoted
from nbpeft.methods import methods
from nbpeft.rendering import count, percent
from nbpeft.session.derived import CUT
from nbpeft.session.models import Handle
from nbpeft.session.recipe import Recipe
from nbpeft.session.record import Record
from nbpeft.session.session import Attached, Session


def attach(
    session: Session, handle: Handle, asked: AttachRequest, tokenizer: Any = None
) -> Attached:
    """Let the model answer as what was asked for; says what the user should know of it.

    Raises:
        AdapterError: there is no such adapter, or it doesn't fit this model.
        RequestError: a setting that can't be, adapters that don't go together.
    """
    if asked.name is None or asked.kind == "base":
        return session.attach(handle, None)
    if asked.kind == "set up":
        assert asked.method is not None
        record = set_up(
            session, handle, asked.name, asked.method, asked.words,
            tokenizer=tokenizer, quantize=asked.quantize, in_place=asked.in_place,
        )  # fmt: skip
        done = session.attach(handle, record.label)
        about = [_about_new(record)]
        if handle.answering is not handle.face:  # a head is around the model, in no name of it
            about.append(f"classifier = nbpeft.attach({record.name!r}) is what to train")
        return _noted(done, *about)
    if asked.kind == "elsewhere":
        loaded = load(session, handle, asked.name, asked.as_, asked.quantize)
        notes = (_about_loaded(loaded.record, asked.name), *loaded.notes)
        done = session.attach(handle, loaded.record.label, in_place=asked.in_place)
        return _noted(done, *notes)
    label = asked.name if asked.rank is None else f"{asked.name}{CUT}{asked.rank}"
    if asked.kind == "sum" or CUT in label:
        record = session.derived(handle, label, Recipe.of(asked.words), asked.as_)
        return _noted(session.attach(handle, record.label), _about_made(record))
    return session.attach(handle, label, in_place=asked.in_place)


def count_only(handle: Handle, asked: AttachRequest) -> Sizes:
    """What setting it up would train; nothing is made."""
    assert asked.method is not None
    return sizes(handle, asked.name or "", asked.method, asked.words, asked.quantize)


def _noted(attached: Attached, *notes: str) -> Attached:
    return replace(attached, notes=(*notes, *attached.notes))


def _about_new(record: Record) -> str:
    by_step = methods.get(record.method).acts_by_step
    only = f" (what {record.method} does around each step, only %%finetune does)" if by_step else ""
    return (
        f"an untrained {record.method} adapter, {_share(record)}; your own loop or Trainer trains "
        f"it{only}, {_saved_by(record)}"
    )


def _about_loaded(record: Record, address: str) -> str:
    where = f"from {quoted(address)}, {record.method}, {_share(record)}"
    return where if record.path else f"{where}; {_saved_by(record)}"


def _about_made(record: Record) -> str:
    recipe = record.settings["recipe"]
    weights = f", weights {listed(map(str, recipe['weights']))}" if "weights" in recipe else ""
    how = f"combined by {recipe['combination']}{weights}, " if "combination" in recipe else ""
    about = f"{how}{_share(record)}"
    return f"{record.parent} {about}; {_saved_by(record)}" if record.version else about


def _saved_by(record: Record) -> str:
    return f"nbpeft.save({record.name!r}) shelves it"


def _share(record: Record) -> str:
    return f"{count(record.trainable_parameters)} parameters ({percent(record.trainable_percent)})"
