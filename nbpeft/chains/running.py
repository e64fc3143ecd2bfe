"""A chain from its request to its last adapter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from nbpeft.chains import stages
from nbpeft.chains.kept import FOLDER, Kept
from nbpeft.chains.making import made
from nbpeft.chains.pairs import Pairing, ranked
from nbpeft.chains.revisions import Revising
from nbpeft.errors import AdapterError, DataError, Stopped
from nbpeft.events import Events, Planned
from nbpeft.objectives import objectives
from nbpeft.objectives._chained import Chain
from nbpeft.places.stop import Stop
from nbpeft.prepare import Bindings, Prepared, prepare
from nbpeft.request import Request
from nbpeft.run import Run
from nbpeft.run import run as run_one
from nbpeft.session.names import check_name
from nbpeft.session.session import Session

REVISIONS, PAIRS = "revisions", "pairs"
SFT, DPO = "sft", "dpo"


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
        return _Chain(request, session, bindings, events, kept).run()
    if isinstance(objectives.get(request.objective), Chain):
        if request.resume:
            raise AdapterError(
                f"There is no {request.objective} of the name {request.name} that was stopped; "
                "leave --resume out to begin it."
            )
        return _Chain(request, session, bindings, events, kept).run()
    return run_one(request, session, bindings, events())


@dataclasses.dataclass(frozen=True)
class _Chain:
    """The stages of one chain."""

    request: Request
    session: Session
    bindings: Bindings
    events: Callable[[], Events]
    kept: Kept

    def run(self) -> Run:
        """Stage by stage; what is done already isn't redone."""
        request = self.request
        ready = self._prepared()
        events = self.events()
        events.emit(Planned(ready.plan, dry_run=request.dry_run))
        if request.dry_run:
            return Run(ready.plan, None)
        self._begin(ready)
        objective = ready.objective
        assert isinstance(objective, Chain)
        start = None if ready.parent is None else ready.parent.label
        if objective.revises:
            if not self.kept.is_done(REVISIONS):
                self._make(REVISIONS, ready, self._revising(ready, objective, start), events)
                self.kept.set_done(REVISIONS)
            start = self._learned(SFT, stages.supervised(request, self.kept.path(REVISIONS)))
        if not self.kept.is_done(PAIRS):
            pairing = self._pairing(ready, objective, start)
            rows = self._make(f"{PAIRS}-made", ready, pairing, events)
            self.kept.path(PAIRS).unlink(missing_ok=True)
            self.kept.add(PAIRS, ranked(rows))
            self.kept.set_done(PAIRS)
        _give(self.bindings.namespace, f"{request.name}_{PAIRS}", self.kept.rows(PAIRS))
        after = start if objective.revises else request.from_
        last = stages.preferred(request, self.kept.path(PAIRS), after)
        done = self._trained(DPO, last)
        self.kept.set_done(DPO, all_of_it=True)
        return done

    def _prepared(self) -> Prepared:
        """The whole chain, checked; nothing is changed by it."""
        before = f"{self.request.name} was stopped before it began; nothing is changed."
        with Stop() as stop:
            try:
                with stop.interruptible(at_once=True):
                    asked = dataclasses.replace(self.request, resume=False)
                    ready = prepare(asked, self.session, self.bindings)
            except KeyboardInterrupt:
                raise Stopped(before) from None
        return ready

    def _begin(self, ready: Prepared) -> None:
        if not self.request.resume:
            self.kept.begin(self.request.to_dict(), ready.rows.fingerprint)
        elif self.kept.state()["fingerprint"] != ready.rows.fingerprint:
            raise DataError(
                f"The prompts are not those that {self.request.name} began with: --resume needs "
                "the same. Give them, or begin anew without --resume."
            )

    def _make(self, stage: str, ready: Prepared, make: Any, events: Events) -> list[dict[str, Any]]:
        prompts = list(ready.rows.train)
        with Stop() as stop:
            name, seed = self.request.name, _seed(ready)
            return made(name, self.kept, stage, prompts, make, seed, events, stop)

    def _answering(self, ready: Prepared, start: str | None) -> dict[str, Any]:
        """Who answers, and how: the adapter `start`, or the base."""
        if start is not None:
            self.session.mount(ready.handle, self.session.record(ready.handle, start))
        assert isinstance(ready.objective, Chain)
        return {
            "handle": ready.handle,
            "label": start,
            "state": ready.plan.state,
            "tokenizer": ready.tokenizer,
            "longest": ready.objective.longest,
            "temperature": ready.settings.trainer.get("temperature", 1.0),
        }

    def _revising(self, ready: Prepared, objective: Chain, start: str | None) -> Revising:
        assert objective.reviser is not None
        return Revising(
            **self._answering(ready, start),
            reviser=objective.reviser,
            principles=objective.principles,
            rounds=objective.rounds,
            seed=_seed(ready),
        )

    def _pairing(self, ready: Prepared, objective: Chain, start: str | None) -> Pairing:
        assert objective.judge is not None
        return Pairing(
            **self._answering(ready, start),
            judge=objective.judge,
            each=ready.settings.trainer.get("num_generations", 4),
        )

    def _learned(self, stage: str, request: Request) -> str:
        """The adapter of a stage, trained unless it is; its label."""
        if not self.kept.is_done(stage):
            self._trained(stage, request)
            self.kept.set_done(stage)
        record, _ = self.session.find(request.name)
        return record.label

    def _trained(self, stage: str, request: Request) -> Run:
        """Train a stage; where it was stopped before, to its end."""
        bindings = dataclasses.replace(self.bindings, data=None, eval=None, signals={})
        goes_on = self.request.resume and stages.stopped(self.session, request.name)
        asked = dataclasses.replace(request, resume=goes_on)
        return run_one(asked, self.session, bindings, self.events())


def _seed(ready: Prepared) -> int:
    return int(ready.settings.trainer.get("seed", 42))


def _give(variables: Mapping[str, Any], name: str, rows: list[dict[str, Any]]) -> None:
    """Let a variable of the kernel hold the rows, so that they can be looked at and used."""
    if isinstance(variables, MutableMapping):
        variables["".join(c if c.isalnum() else "_" for c in name)] = rows
