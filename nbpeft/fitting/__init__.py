"""Will it fit? A run's peak memory before it begins, against what is free, and what to change.

`trace` runs one step of the very run by shape only; `free` looks at what there is; `remedies` finds
the smallest change with which a run fits; `check` is asked before every run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbpeft.bindings import Bindings
from nbpeft.fitting.check import checked, measured, noted
from nbpeft.fitting.verdict import Fit
from nbpeft.prepare import Prepared, prepare
from nbpeft.rendering import bytes_size
from nbpeft.request import Request
from nbpeft.settings import TRAINER_ALIASES

if TYPE_CHECKING:
    from nbpeft.session.session import Session

__all__ = ["Fit", "fit", "fitted"]


def fit(request: Request, session: Session, bindings: Bindings) -> Fit:
    """Whether the run that was asked for fits; nothing is changed.

    Raises:
        NbPeftError: what the run itself would be refused for.
    """
    return measured(prepare(request, session, bindings))


def fitted(request: Request, session: Session, bindings: Bindings) -> Prepared:
    """The run that was asked for, prepared; with `--auto`, changed so that it fits.

    Raises:
        NbPeftError: it can't be prepared, or doesn't fit.
    """
    ready, short = checked(prepare(request, session, bindings))
    if short is None:
        return ready
    assert short.remedy is not None
    changed = dataclasses.replace(_with(request, short.remedy.words), fit="off")
    ready = prepare(changed, session, bindings)
    ready = dataclasses.replace(ready, lean=short.lean)
    memory = dataclasses.replace(short.memory, peak=short.held + short.remedy.needed)
    ready = dataclasses.replace(ready, plan=dataclasses.replace(ready.plan, memory=memory))
    return noted(
        ready,
        f"it would have taken {bytes_size(short.needed)} beside the model, with "
        f"{bytes_size(short.free)} free: {short.remedy.typed} was chosen{short.remedy.cost}",
    )


def _with(request: Request, words: Mapping[str, Any]) -> Request:
    """The request with these words in place of what was given for them."""
    declared = {option.name for option in dataclasses.fields(Request)}
    fields = dict(request.fields)
    for word in words:
        fields.pop(TRAINER_ALIASES.get(word, word), None)
    fields |= {word: value for word, value in words.items() if word not in declared}
    own = {word: value for word, value in words.items() if word in declared}
    origins = {**request.origins, **dict.fromkeys(words, "fit")}
    return dataclasses.replace(request, **own, fields=fields, origins=origins)
