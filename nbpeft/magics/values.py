"""What fits as the value of a flag or of a key, and how what is typed narrows it down."""

from __future__ import annotations

import json
import re
import shlex
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nbpeft import session
from nbpeft.cells import usual
from nbpeft.coerce import choices
from nbpeft.data.hosting.request import Hosted
from nbpeft.listing.glance import (
    Offer,
    adapters,
    columns,
    entries,
    folders,
    linear_layers,
    models,
    read_columns,
    rows,
    tokenizers,
)
from nbpeft.magics.cursor import RUNS, Cursor
from nbpeft.merging.request import Into, MergeRequest
from nbpeft.methods import methods
from nbpeft.methods._peft import NAMING
from nbpeft.objectives import objectives
from nbpeft.places import places
from nbpeft.request import Baseline, FitCheck, Quantize, Request, options, typed
from nbpeft.session.recipe import Combination, Recipe
from nbpeft.settings import Field, Fields

_REGISTRIES: dict[str, Any] = {"method": methods, "objective": objectives, "place": places}


def _teachers(variables: Mapping[str, Any]) -> Iterator[Offer]:
    """Other models, and adapters."""
    yield from models(variables)
    yield from adapters(session.current().glance())


_HELD = {"model": models, "student": models, "teacher": _teachers, "tokenizer": tokenizers}
_CHOICES: dict[str, tuple[Any, str | None]] = {
    "baseline": (Baseline, None),
    "combination": (Combination, Recipe.combination),
    "fit": (FitCheck, Request.fit),
    "into": (Into, MergeRequest.into),
    "quantize": (Quantize, None),
}
_LISTS = NAMING | {"columns"}


def values(cursor: Cursor, variables: Mapping[str, Any]) -> tuple[str, list[Offer]]:
    """(what is replaced, the offers for it): of a list, the item that is being typed."""
    fragment = cursor.fragment
    if cursor.in_body:
        fragment = re.split(r"[\[{,]\s*", fragment)[-1]
    elif cursor.word in _LISTS:
        fragment = fragment.rpartition(",")[2]
    if cursor.word == "columns":
        return _columns(cursor, fragment, variables)
    return fragment, fitting(fragment, _values(cursor, fragment, variables))


def fitting(fragment: str, found: Iterable[Offer]) -> list[Offer]:
    """Those that begin as typed, else those that hold it; dashes, case and quotes don't count."""
    found, wanted = list(found), _plain(fragment).strip("_")
    return starting(fragment, found) or [o for o in found if wanted in _plain(o.text)]


def starting(fragment: str, found: Iterable[Offer]) -> list[Offer]:
    """Those that begin as typed."""
    return [offer for offer in found if _plain(offer.text).startswith(_plain(fragment))]


def _plain(text: str) -> str:
    return text.strip("'\"").lower().replace("-", "_")


def fields_of(cursor: Cursor) -> Fields | None:
    """The fields of the cell's method and objective; None before a model has been loaded.

    Importing peft's and trl's configs takes a fifth of a second beside a loaded model, and seconds
    without one.
    """
    if "transformers.modeling_utils" not in sys.modules:
        return None
    if cursor.magic == "peft_attach":
        named = cursor.given.get("method")
        return Fields(methods.get(named), None) if named in methods.names() else None
    default = {o.name: o.default for o in options()}
    chosen = default | (usual(cursor.given) if cursor.magic == "distill" else {})
    method = cursor.given.get("method") or chosen["method"]
    objective = cursor.given.get("objective") or chosen["objective"]
    if method not in methods.names() or objective not in objectives.names():
        return None
    return Fields(methods.get(method), objectives.get(objective))


def _values(cursor: Cursor, fragment: str, variables: Mapping[str, Any]) -> Iterator[Offer]:
    word = cursor.word
    if word in ("data", "eval", "prompts", "outside"):
        yield from rows(fragment, variables)
    elif word in _HELD:
        yield from _HELD[word](variables)
    elif word == "from":
        yield from adapters(session.current().glance())
    elif word in ("method", "objective", "place"):
        yield from entries(_REGISTRIES[word])
    elif word == "to":
        yield from _aims(cursor, fragment)
    elif word in _CHOICES:
        kind, default = _CHOICES[word]
        for choice in typing.get_args(kind):
            yield Offer(choice, "choice", "the default" if choice == default else "")
    elif word in ("attach", "resume", "dry_run", "form", "in_place", "none", "auto"):
        yield from _booleans(default=False)
    elif cursor.magic in (*RUNS, "peft_attach"):
        yield from _of_setting(cursor, variables)


def _aims(cursor: Cursor, fragment: str) -> Iterator[Offer]:
    """What is written to: a folder, or of data the service that they are written for."""
    if cursor.magic == "peft_data":
        yield from (Offer(name, "choice") for name in typing.get_args(Hosted))
    else:
        yield from folders(fragment)


def _of_setting(cursor: Cursor, variables: Mapping[str, Any]) -> Iterator[Offer]:
    """What a setting may be: modules of the model, or what its declaration enumerates."""
    if cursor.word == "target_modules":
        yield Offer("all-linear", "modules", "every linear layer but the head")
    if cursor.word in NAMING:
        yield from linear_layers(variables, cursor.given.get("model"))
    else:
        yield from _of_field(cursor)


def _of_field(cursor: Cursor) -> Iterator[Offer]:
    """The choices of a field of a config; of a number, what it is by default."""
    fields = fields_of(cursor)
    if fields is None or cursor.word not in fields.words() or fields.lacks(cursor.word):
        return
    known = fields.find(cursor.word)
    default = _default(fields, known)
    if {"true", "false"} == set(choices(known.hint)):
        yield from _booleans(default=default)
        return
    for choice in choices(known.hint):
        end = choice.partition("[")[0]  # 'pissa_niter_[number of iters]' is typed up to there
        yield Offer(end, "choice", "the default" if choice == str(default).lower() else "")
    if not choices(known.hint) and isinstance(default, int | float):
        own = {typed(o.name): o.metadata["help"] for o in options()}
        yield Offer(f"{default:g}", "default", own.get(cursor.word, known.help))


def _default(fields: Fields, known: Field) -> Any:
    method = methods.get(fields.method)
    if known.key == "learning_rate":
        return method.learning_rate
    return method.defaults.get(known.key, known.default)


def _booleans(*, default: Any) -> Iterator[Offer]:
    for value in (True, False):
        note = "the default" if default is value else ""
        yield Offer(str(value).lower(), "choice", note)


def _in_yaml(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d][\w -]*", name) else json.dumps(name, ensure_ascii=False)


def _columns(
    cursor: Cursor, fragment: str, variables: Mapping[str, Any]
) -> tuple[str, list[Offer]]:
    """'prompt=question,completion=answer', or a mapping in the body."""
    ours, equals, theirs = fragment.partition("=") if "=" in fragment else fragment.partition(":")
    if equals:
        theirs, quote = theirs.lstrip(), _in_yaml if cursor.in_body else shlex.quote
        found = columns(variables, cursor.given.get("data", ""))
        return theirs, fitting(theirs, (replace(o, text=quote(o.text)) for o in found))
    sign = "=" if not cursor.in_body or not re.match(r"\{|[ \w]*$", cursor.fragment) else ": "
    taken = set(re.findall(r"(\w+)\s*[=:]", cursor.fragment))
    return ours, [
        Offer(offer.text + sign, offer.kind, offer.help)
        for offer in fitting(ours, read_columns(cursor.given.get("objective", "sft")))
        if offer.text not in taken
    ]
