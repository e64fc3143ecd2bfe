"""Which runs a request is: one, or the stages of a chain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from nbpeft.bindings import Bindings
from nbpeft.chains.distillation import chain_of, is_chain
from nbpeft.chains.feedback import FeedbackChain
from nbpeft.chains.kept import FOLDER, Kept
from nbpeft.chains.staged import Staged
from nbpeft.errors import AdapterError
from nbpeft.events import Events
from nbpeft.objectives import objectives
from nbpeft.objectives._chained import Chain
from nbpeft.request import Request
from nbpeft.run import Run
from nbpeft.run import run as run_one
from nbpeft.session.names import check_name
from nbpeft.session.session import Session


def run(
    request: Request, session: Session, bindings: Bindings, events: Callable[[], Events]
) -> Run:
    """One run, or the runs of a chain.

    Args:
        events: makes the listeners of one run.
    """
    check_name(request.name)
    kept = Kept(session.shelf.folder / request.name / FOLDER)
    if request.resume and kept.begun:
        request = dataclasses.replace(Request.from_dict(kept.state()["request"]), resume=True)
        return _chain_of(request, bindings)(request, session, bindings, events, kept).run()
    if isinstance(objectives.get(request.objective), Chain) and request.resume:
        raise AdapterError(
            f"There is no {request.objective} of the name {request.name} that was stopped; "
            "leave --resume out to begin it."
        )
    if isinstance(objectives.get(request.objective), Chain) or is_chain(request, bindings):
        return _chain_of(request, bindings)(request, session, bindings, events, kept).run()
    return run_one(request, session, bindings, events())


def _chain_of(request: Request, bindings: Bindings) -> type[Staged]:
    """Which chain a request is."""
    feedback = isinstance(objectives.get(request.objective), Chain)
    return FeedbackChain if feedback else chain_of(request, bindings)
