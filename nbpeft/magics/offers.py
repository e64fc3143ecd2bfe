"""What fits where the cursor stands: names, flags and keys here, values next door."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nbpeft import session
from nbpeft.attaching.loading import is_address
from nbpeft.background.listing import ALL, jobs
from nbpeft.cells import CONTEXT, OTHER
from nbpeft.comparison.baselines import WITH_CONTEXT
from nbpeft.listing.glance import Offer, adapters, folders, named
from nbpeft.magics.cursor import RUNS, Cursor
from nbpeft.magics.values import fields_of, fitting, starting, values
from nbpeft.request import options, typed
from nbpeft.session.derived import SUM
from nbpeft.session.recipe import recipe_options

_FLAG = re.compile(r"^\s*(?:%+\w+ )?(--[\w-]+)( \S+)?(?:, (--[\w-]+)( \S+)?)?\s{2,}(\S.*)")


@dataclass(frozen=True)
class Flag:
    """A flag of a magic."""

    help: str
    value: bool
    """Whether it takes one."""


def flags_of(magic: Callable[..., Any]) -> dict[str, Flag]:
    """The flags of a magic by word, from its help: what `%magic?` shows is what Tab offers."""
    found: dict[str, Flag] = {}
    for line in (inspect.getdoc(magic) or "").splitlines():
        for flag, value, second, its, text in _FLAG.findall(line):
            found[_word(flag)] = Flag(text, bool(value))
            if second:
                found[_word(second)] = Flag(text, bool(its))
    return found


def _word(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def offers(
    cursor: Cursor, flags: Mapping[str, Flag], variables: Mapping[str, Any]
) -> tuple[str, list[Offer]]:
    """(what is replaced, the offers for it); those that begin as typed, else those that hold it."""
    fragment = cursor.fragment
    if cursor.wants == "nothing":
        return "", []
    if cursor.wants == "key":
        return fragment, fitting(fragment, _keys(cursor))
    if cursor.wants == "word":
        own = list(_words(cursor, flags, variables))
        found = starting(fragment, own) or starting(fragment, _more_flags(cursor))
        return fragment, found or fitting(fragment, own)
    return values(cursor, variables)


OF_ONE = ("peft_attach", "peft_adapters", "peft_export", "peft_merge", "peft_score")
"""Magics that take the name of one adapter."""


# Names and flags


def _words(
    cursor: Cursor, flags: Mapping[str, Flag], variables: Mapping[str, Any]
) -> Iterator[Offer]:
    yield from _names(cursor, variables)
    if cursor.magic in RUNS:
        more = {word: flags[word] for word in OTHER} if cursor.magic == "distill" else {}
        flags = more | {typed(o.name): Flag(o.metadata["help"], value=True) for o in options()}
        del flags["name"]
    if cursor.magic == "peft_attach":
        flags = _fitting_flags(cursor, flags)
    for word, flag in flags.items():
        if word not in cursor.given:
            yield Offer(_flag(word), "flag", flag.help)


def _names(cursor: Cursor, variables: Mapping[str, Any]) -> Iterator[Offer]:
    """What may stand on the line without a flag."""
    if cursor.magic in ("finetune", "distill") and not cursor.names:
        for offer in adapters(session.current().glance(), versions=False):
            yield Offer(offer.text, "train again", offer.help)
    if cursor.magic in ("peft_compare", "peft_rate"):
        yield from (offer for offer in _answering(cursor) if offer.text not in cursor.names)
    if cursor.magic in OF_ONE and not cursor.names:
        yield from _attachable(cursor)
    if cursor.magic == "peft_memory":
        yield from named(variables, but=cursor.names)
    if cursor.magic == "peft_jobs":
        yield from _jobs(cursor)


def _jobs(cursor: Cursor) -> Iterator[Offer]:
    """Those that aren't over, where something is to be done with them."""
    if not {"wait", "stop"} & cursor.given.keys():
        return
    for job in jobs():
        if not job.is_over and job.name not in cursor.names:
            yield Offer(job.name, "run", f"{job.state} {job.where}".strip())
    if "stop" in cursor.given and not cursor.names:
        yield Offer(ALL, "runs", "all that run or wait")


def _answering(cursor: Cursor) -> Iterator[Offer]:
    """Who may be asked the same."""
    known = session.current().glance()
    yield Offer("base", "model", "the base, without any adapter")
    if cursor.magic == "peft_compare" and any(record.objective == CONTEXT for record in known):
        yield Offer(WITH_CONTEXT, "model", "the base with the context of an adapter")
    yield from adapters(known)


def _attachable(cursor: Cursor) -> Iterator[Offer]:
    """Adapters, or folders where a path is begun; of a sum, what may come next."""
    fragment = cursor.fragment
    before = fragment[: fragment.rfind(SUM) + 1]
    taken = set(before.split(SUM))
    for offer in adapters(session.current().glance()):
        if offer.text not in taken:
            yield replace(offer, text=before + offer.text)
    if cursor.magic == "peft_attach" and is_address(fragment):
        yield from folders(fragment)


def _fitting_flags(cursor: Cursor, flags: Mapping[str, Flag]) -> dict[str, Flag]:
    """Those that go with what stands on the line: a method has its options, a sum its recipe."""
    recipe = {option.name for option in recipe_options()}
    if "method" in cursor.given:
        out = {"none", "as", "rank"} | recipe
        own = {word: Flag(offer.help, value=True) for word, offer in _settings(cursor).items()}
    else:
        adding = any(SUM in name for name in cursor.names)
        alone = {"none", "method", "quantize", "dry_run", "rank"}
        out, own = alone if adding else recipe, {}
    return {word: flag for word, flag in flags.items() if word not in out} | own


def _more_flags(cursor: Cursor) -> Iterator[Offer]:
    """The libraries' own fields as flags, once it is clear that none of nbpeft's is meant."""
    if cursor.magic in RUNS and cursor.fragment.startswith("--"):
        own = {typed(o.name) for o in options()}
        for word, offer in _settings(cursor).items():
            if word not in own:
                yield Offer(_flag(word), offer.kind, offer.help)


def _flag(word: str) -> str:
    return f"--{word.replace('_', '-')}"


# Keys of the body


def _keys(cursor: Cursor) -> Iterator[Offer]:
    if cursor.magic not in (*RUNS, "peft_attach"):
        return
    colon = "" if cursor.after.lstrip().startswith(":") else ": "
    known = _settings(cursor)
    for option in options() if cursor.magic in RUNS else ():
        word = typed(option.name)
        fits = word in known or not known or not option.metadata["setting"]
        if word != "name" and word not in cursor.given and fits:
            known.pop(word, None)
            yield Offer(word + colon, "key", option.metadata["help"])
    for word, offer in known.items():
        if word not in cursor.given:
            yield Offer(word + colon, offer.kind, offer.help)


def _settings(cursor: Cursor) -> dict[str, Offer]:
    """Every word that sets a field in this cell, but for those of fields that are set already."""
    fields = fields_of(cursor)
    if fields is None:
        return {}
    taken = {fields.aliases.get(word, word) for word in cursor.given}
    found: dict[str, Offer] = {}
    free = [*fields.aliases, *fields.of_method, *fields.of_trainer]
    for word in (w for w in free if w in set(fields.words())):
        key = fields.aliases.get(word, word)
        if key not in taken and not fields.lacks(word):
            owner = fields.method if key in fields.of_method else "trainer"
            found.setdefault(word, Offer(word, f"{owner} field", fields.find(word).help))
    return found
