"""Which fields the form has for a method and an objective, from the declarations of the options."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from nbpeft.coerce import choices
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.places import places
from nbpeft.request import Request, options, typed
from nbpeft.settings import Field, Fields

Kind = Literal["text", "texts", "choice", "switch"]

FIRST = ("name", "model", "data", "method", "objective")
"""What every run has."""
MATTERS = (
    "rank", "alpha", "target_modules", "num_virtual_tokens", "prompt_tuning_init_text",
    "bottleneck_size", "layers", "variant", "beta", "loss", "algorithm", "num_generations",
    "temperature", "learning_rate", "epochs", "max_steps", "batch_size", "max_length",
)  # fmt: skip
"""Settings that are shown where the method or the objective has them; the rest is folded away."""
UNASKED = frozenset({"dry_run", "form"})
"""Options that a form has no use for."""
LONG = frozenset({"context", "principles", "rubric"})
"""Texts of several lines."""
_REGISTRIES: dict[str, Any] = {"method": methods, "objective": objectives, "place": places}


@dataclass(frozen=True)
class Control:
    """One field: what may be typed into it, and what it is for."""

    word: str
    kind: Kind
    help: str
    hint: Any
    """The type that its value is to have."""
    choices: tuple[str, ...] = ()
    lone_text: bool = False
    """Whether what is typed is the value, as it stands; else it is read as YAML."""


@dataclass(frozen=True)
class Controls:
    """All fields of a pair, in the order in which they are shown."""

    first: tuple[Control, ...]
    matter: tuple[Control, ...]
    rest: tuple[Control, ...]
    """nbpeft's other options."""
    of_method: tuple[Control, ...]
    """The other fields of the method's config, of the library; likewise what follows."""
    of_trainer: tuple[Control, ...]

    def __iter__(self) -> Iterator[Control]:
        for group in (self.first, self.matter, self.rest, self.of_method, self.of_trainer):
            yield from group


def controls(method: str, objective: str) -> Controls:
    """The fields of a pair; RequestError where there is no such method or objective."""
    fields = Fields(methods.get(method), objectives.get(objective))
    taken = objectives.get(objective).takes
    declared = {c.word: c for c in _declared() if _goes_with(c.word, taken, fields)}
    first = tuple(declared.pop(word) for word in FIRST)
    signals = [declared.pop(word) for word in list(declared) if word in taken]
    known = {**declared, **{c.word: c for c in _of_library(fields)}}
    settings = [known.pop(word) for word in MATTERS if word in known]
    rest = [known.pop(word) for word in declared if word in known]
    of_method = [c for c in known.values() if fields.find(c.word).key in fields.of_method]
    of_trainer = [c for c in known.values() if c not in of_method]
    return Controls(first, (*signals, *settings), tuple(rest), tuple(of_method), tuple(of_trainer))


def _declared() -> Iterator[Control]:
    """The options of a request."""
    hints = typing.get_type_hints(Request)
    for option in options():
        word, hint = typed(option.name), hints[option.name]
        if word in UNASKED:
            continue
        if word in _REGISTRIES:
            yield Control(word, "choice", option.metadata["help"], str, _REGISTRIES[word].names())
            continue
        known = choices(hint)
        kind: Kind = "text"
        if hint is bool:
            kind, known = "switch", ()
        elif word in LONG:
            kind = "texts"
        elif known:
            kind = "choice"
        lone = hint in (str, str | None)
        yield Control(word, kind, option.metadata["help"], hint, known, lone_text=lone)


def _goes_with(word: str, taken: frozenset[str], fields: Fields) -> bool:
    option = next(o for o in options() if typed(o.name) == word)
    if option.metadata["signal"]:
        return word in taken
    return not (option.metadata["setting"] and fields.lacks(word))


def _of_library(fields: Fields) -> Iterator[Control]:
    """The fields of the two configs that none of nbpeft's words stands for."""
    own = {typed(option.name) for option in options()}
    aliased = {key: word for word, key in fields.aliases.items()}
    for key, field in {**fields.of_trainer, **fields.of_method}.items():
        word = aliased.get(key, key)
        if key not in fields.reserved and word not in own:
            yield _of_field(word, field)


def _of_field(word: str, field: Field) -> Control:
    known = tuple(c for c in choices(field.hint) if "[" not in c)  # 'pissa_niter_[number …]'
    open_ = len(known) < len(choices(field.hint)) or _takes_more(field.hint)
    return Control(
        word,
        "choice" if known and not open_ else "text",
        " ".join(re.sub(r"<[^>]*>", "", field.help).split()),  # peft's help links to papers
        field.hint,
        known,
    )


def _takes_more(hint: Any) -> bool:
    """Whether a value may be another than those that the type enumerates: `bool | dict`."""
    parts = typing.get_args(hint) if not isinstance(hint, type) else (hint,)
    if typing.get_origin(hint) is typing.Literal:
        return False
    return any(not choices(part) and part not in (type(None), str) for part in parts)
