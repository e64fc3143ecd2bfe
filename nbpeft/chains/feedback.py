"""Feedback that is made first, and learned from then: rlaif and constitution."""

from __future__ import annotations

import dataclasses
from typing import Any

from nbpeft.chains import stages
from nbpeft.chains.making import made
from nbpeft.chains.pairs import Pairing, ranked
from nbpeft.chains.revisions import Revising
from nbpeft.chains.staged import Staged, give, seed_of
from nbpeft.events import Events, Planned
from nbpeft.objectives._chained import Chain
from nbpeft.prepare import Prepared
from nbpeft.request import Request
from nbpeft.run import Run
from nbpeft.stop import Stop

REVISIONS, PAIRS = "revisions", "pairs"
SFT, DPO = "sft", "dpo"


class FeedbackChain(Staged):
    """Answers are made and judged, and then learned from."""

    def run(self) -> Run:
        """Stage by stage; what is done already isn't redone."""
        request = self.request
        ready = self.prepared()
        events = self.events()
        events.emit(Planned(ready.plan, dry_run=request.dry_run))
        if request.dry_run:
            return Run(ready.plan, None)
        self.begin(ready.rows.fingerprint)
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
        give(self.bindings.namespace, f"{request.name}_{PAIRS}", self.kept.rows(PAIRS))
        after = start if objective.revises else request.from_
        last = stages.preferred(request, self.kept.path(PAIRS), after)
        done = self._trained(last)
        self.kept.set_done(DPO, all_of_it=True)
        return done

    def _make(self, stage: str, ready: Prepared, make: Any, events: Events) -> list[dict[str, Any]]:
        prompts = list(ready.rows.train)
        with Stop() as stop:
            name, seed = self.request.name, seed_of(ready)
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
            seed=seed_of(ready),
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
            self._trained(request)
            self.kept.set_done(stage)
        record, _ = self.session.find(request.name)
        return record.label

    def _trained(self, request: Request) -> Run:
        bindings = dataclasses.replace(self.bindings, data=None, eval=None, signals={})
        return self.trained(request, bindings)
