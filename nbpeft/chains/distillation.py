"""What may stand around a distillation: prompts that are written first, and the student without a
teacher, to compare with.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from nbpeft.bindings import Bindings
from nbpeft.chains import stages
from nbpeft.chains.prompts import STAGE, Asking, prompts
from nbpeft.chains.staged import Staged, give, seed_of
from nbpeft.errors import RequestError, Stopped
from nbpeft.events import Noted, Planned, Tabled
from nbpeft.objectives import objectives
from nbpeft.objectives._distill_config import asks
from nbpeft.prepare import WRITTEN, Prepared
from nbpeft.rendering import bytes_size, count, nats
from nbpeft.request import Request
from nbpeft.run import Run
from nbpeft.session.record import Record
from nbpeft.stop import Stop

COUNT = 200
"""Prompts that are written where nothing is said."""
MAIN, LABELS = "main", "labels"


def is_chain(request: Request, bindings: Bindings) -> bool:
    """Whether a request has such stages."""
    return writes_prompts(request, bindings) or has_baseline(request)


def writes_prompts(request: Request, bindings: Bindings) -> bool:
    """Whether the model writes the prompts itself; RequestError for a count without that."""
    takes = "count" in objectives.get(request.objective).takes
    auto = takes and request.data == WRITTEN and bindings.data is None
    if request.count is not None and takes and not auto:
        raise RequestError(
            "count is how many prompts the model writes: it goes with --prompts auto."
        )
    return auto


def has_baseline(request: Request) -> bool:
    """Whether the student is trained without the teacher too."""
    if "baseline" not in objectives.get(request.objective).takes or request.baseline == "off":
        return False
    fields = request.fields
    settings = {**fields, "loss_type": fields.get("loss", fields.get("loss_type"))}
    if not asks(settings):
        return True
    if request.baseline == "on":
        raise RequestError(
            "baseline trains on the answers in the rows, and this run learns from answers that are "
            "written meanwhile: leave it out."
        )
    return False


def chain_of(request: Request, bindings: Bindings) -> type[Staged]:
    """Which of the two a request is."""
    return WritingChain if writes_prompts(request, bindings) else ComparingChain


class ComparingChain(Staged):
    """The distillation, and the student without a teacher."""

    def run(self) -> Run:
        """Stage by stage; what is done already isn't redone."""
        request = self.request
        if request.dry_run:
            return self.trained(request, self.bindings)
        done = self._main()
        bindings = dataclasses.replace(self.bindings, signals={})
        alone = self.trained(stages.without_teacher(request), bindings)
        self.kept.set_done(LABELS, all_of_it=True)
        if done.record is not None and alone.record is not None:
            self.events().emit(compared(done.record, alone.record))
        return done

    def _main(self) -> Run:
        """The distillation; where it is done and the chain was stopped later, as it is."""
        request = self.request
        if request.resume and self.kept.begun and self.kept.is_done(MAIN):
            record, _ = self.session.find(request.name)
            plan = dataclasses.replace(self.prepared().plan, version=record.version)
            return Run(plan, record)
        try:
            done = self.trained(request, self.bindings)
        except Stopped:
            if stages.stopped(self.session, request.name):
                self.kept.begin(request.to_dict(), "")
            raise
        self.kept.begin(request.to_dict(), "")
        self.kept.set_done(MAIN)
        return done


class WritingChain(Staged):
    """Prompts, and the distillation over them."""

    def run(self) -> Run:
        """Stage by stage; what is done already isn't redone."""
        ready = self._standing_in()
        if self.request.dry_run:
            return self._planned(ready)
        done = self.trained(self._with_prompts(ready), self.bindings)
        self.kept.set_done(MAIN, all_of_it=True)
        return done

    def _standing_in(self) -> Prepared:
        """The whole chain, checked on prompts that stand in for those to be written."""
        return self.prepared(data=[{"prompt": f"Prompt {n + 1}?"} for n in range(self._count)])

    def _planned(self, ready: Prepared) -> Run:
        events = self.events()
        events.emit(Planned(ready.plan, dry_run=True))
        events.emit(Noted(f"{self._count} prompts would be written by the model first"))
        return Run(ready.plan, None)

    def _with_prompts(self, ready: Prepared) -> Request:
        """The request with the prompts that the model has written."""
        request, kept = self.request, self.kept
        self.begin("")
        if not kept.is_done(STAGE):
            asking = Asking(
                ready.tokenizer, ready.rows.rendering, ready.settings.trainer["max_length"] // 4
            )
            with Stop() as stop:
                prompts(
                    request.name, kept, self._count, asking, self._writer(ready), seed_of(ready),
                    self.events(), stop,
                )  # fmt: skip
            kept.set_done(STAGE)
        give(self.bindings.namespace, f"{request.name}_{STAGE}", kept.rows(STAGE))
        return dataclasses.replace(request, data=str(kept.path(STAGE)), count=None)

    def _writer(self, ready: Prepared) -> Any:
        """Who asks: the model as it is at the run's start, without the context."""
        label = None
        if ready.parent is not None:
            self.session.mount(ready.handle, ready.parent)
            label = ready.parent.label
        return lambda: ready.handle.answering_as(label, ready.plan.state)

    @property
    def _count(self) -> int:
        wanted = COUNT if self.request.count is None else self.request.count
        if wanted < 2:
            raise RequestError(f"count must be 2 or more, not {wanted}.")
        return wanted


def compared(done: Record, alone: Record) -> Tabled:
    """Teacher and student, as large, as fast and as good as they are."""
    models = done.findings["models"]
    teacher, student = models["teacher"], models["student"]
    before = done.metrics.get("held_out_loss_on_the_answers_before")
    after = done.metrics.get("held_out_loss_on_the_answers")
    without = alone.metrics.get("held_out_loss")
    size = (count(student["parameters"]), bytes_size(student["bytes"]))
    speed = _speed(student)
    return Tabled(
        title=f"{done.label} and its teacher",
        header=("", "parameters", "size on disk", "tokens/s", "held-out loss"),
        rows=(
            (
                f"teacher ({teacher['name']})", count(teacher["parameters"]),
                bytes_size(teacher["bytes"]), _speed(teacher), _loss(teacher.get("loss")),
            ),
            ("student before", *size, speed, _loss(before)),
            (f"student after ({done.label})", *size, speed, _loss(after)),
            (f"without the teacher ({alone.label})", *size, speed, _loss(without)),
        ),
        notes=("held-out loss: nats a token on the rows' own answers",),
    )  # fmt: skip


def _speed(model: Any) -> str:
    return count(round(model["tokens_per_second"]))


def _loss(value: float | None) -> str:
    return "" if value is None else nats(value)
