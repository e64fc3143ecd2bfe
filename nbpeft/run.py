"""One run, from a request to an adapter on the shelf."""

from __future__ import annotations

import contextlib
import gc
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.beside import beside
from nbpeft.bindings import Bindings
from nbpeft.closing import finished, stopped, unsaved
from nbpeft.config import settings as configured
from nbpeft.errors import Stopped
from nbpeft.events import Events, Failed, Planned
from nbpeft.fitting import fitted
from nbpeft.guard import Guard
from nbpeft.heading import with_head
from nbpeft.methods import Material
from nbpeft.places import Job, Outcome
from nbpeft.places.budget import seconds_of
from nbpeft.plan import Plan
from nbpeft.precision.trap import biases_kept, trainable
from nbpeft.prepare import Prepared
from nbpeft.quiet import quiet
from nbpeft.recording import record_of
from nbpeft.request import Request
from nbpeft.session.record import Record
from nbpeft.session.session import Session
from nbpeft.stop import Stop

if TYPE_CHECKING:
    from nbpeft.mounts import Mount
    from nbpeft.objectives import Reference


@dataclass(frozen=True)
class Run:
    """What a run came to; plain values, so that keeping it keeps no tensor."""

    plan: Plan
    record: Record | None
    """None after a dry run."""

    @property
    def metrics(self) -> dict[str, float]:
        """`loss`, `held_out_loss`, `held_out_loss_before`, `steps`, `seconds`."""
        return dict(self.record.metrics) if self.record else {}

    def __repr__(self) -> str:
        if self.record is None:
            return f"Run({self.plan.name}, dry: {self.plan.steps} steps planned)"
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"Run({self.record.label}: {figures})"


def run(request: Request, session: Session, bindings: Bindings, events: Events) -> Run:
    """Check, plan, train, shelve; whatever happens, the model is left as it was.

    Raises an NbPeftError when something can't be, Stopped when the user stopped it (what was
    trained so far is kept), and whatever the libraries raise, with nothing held in memory.
    """
    with Stop() as stop:
        ready = _prepared(request, session, bindings, stop)
        events.emit(Planned(ready.plan, dry_run=request.dry_run))
        if request.dry_run:
            return Run(ready.plan, None)
        with _reported(events), _scrubbed(), _on_base(ready), _guarded(ready):
            record, outcome, failure = _train(ready, session, events, stop)
    events.emit(finished(record, outcome, ready.objective))
    if failure is not None:
        raise unsaved(record, failure) from failure
    if request.attach:
        session.attach(ready.handle, record.label)
    if stop.asked or outcome.stopped:
        raise Stopped(stopped(record, outcome))
    return Run(ready.plan, record)


def _prepared(request: Request, session: Session, bindings: Bindings, stop: Stop) -> Prepared:
    """Prepare; nothing is changed by it, so an interrupt breaks it off at once."""
    before = f"{request.name} was stopped before it began; nothing is changed."
    try:
        with stop.interruptible(at_once=True):
            ready = fitted(request, session, bindings)
    except KeyboardInterrupt:
        raise Stopped(before) from None
    if stop.asked:
        raise Stopped(before)
    return ready


def _train(
    ready: Prepared, session: Session, events: Events, stop: Stop
) -> tuple[Record, Outcome, Exception | None]:
    """Mount over the bare base, train, keep; the base is bare again after."""
    root = ready.handle.root
    with tempfile.TemporaryDirectory(prefix="nbpeft-") as temporary:
        mount = _mount(ready)
        mount.attach(root)
        try:
            with (
                mount.as_peft(root) as model,
                Guard(model, writable=list(model.parameters()), random=beside() is None),
                biases_kept(root),
            ):
                job = Job(
                    name=ready.request.name,
                    model=model,
                    tokenizer=ready.tokenizer,
                    rows=ready.rows,
                    method=ready.method,
                    objective=ready.objective,
                    settings=ready.settings.trainer,
                    folder=Path(temporary),
                    events=events,
                    stop=stop,
                    resume_from=_resume_from(ready, session, Path(temporary)),
                    budget=_time_left(ready),
                    lean=ready.lean,
                    checkpoint=_checkpointing(ready, session),
                    checkpoint_seconds=60 * configured().checkpoint_minutes,
                    reference=_reference(ready, session, mount),
                    samples=configured().samples,
                )
                outcome = ready.place.train(job)
            if outcome.steps == 0:
                raise Stopped(f"{ready.request.name} was stopped before its first step.")
            mount = _finished(ready, mount)
            record = record_of(ready, outcome)
            return _keep(ready, session, mount, record, outcome)
        finally:
            mount.detach(root)


def _checkpointing(ready: Prepared, session: Session) -> Callable[[Outcome], None] | None:
    """What puts the state of the run on the shelf while it goes on."""
    if not configured().checkpoint_minutes:
        return None

    def keep(outcome: Outcome) -> None:
        assert outcome.resume is not None
        session.shelf.put_unfinished(record_of(ready, outcome), outcome.resume)

    return keep


def _mount(ready: Prepared) -> Mount:
    """The adapter of this run: fresh under the run's seed, or the parent's weights."""
    import torch

    torch.manual_seed(ready.settings.trainer.get("seed", 42))
    root = ready.handle.root
    # Of a run whose kernel was killed only its state is there, and no adapter.
    adapter = ready.resumed if ready.resumed and ready.resumed.size else None
    before = (adapter if ready.method.saves_all else None) or ready.parent
    if before is not None:
        assert before.path is not None
        mount = ready.method.go_on(root, before.path)
        return with_head(ready.method, mount, root, ready.outputs, before.path)
    material = Material(ready.tokenizer, ready.rows.train)
    mount = ready.method.mount(root, ready.settings.method, material)
    return with_head(ready.method, mount, root, ready.outputs)


def _reference(ready: Prepared, session: Session, mount: Mount) -> Reference:
    """The policy at the run's start: the base, or the adapter that the run goes on from.

    What is trained is put aside meanwhile, by its pointers.
    """
    handle, parent = ready.handle, ready.parent

    @contextlib.contextmanager
    def answering() -> Iterator[Any]:
        mount.take_out(handle.root)
        try:
            if parent is not None:
                session.mount(handle, parent)
            label = None if parent is None else parent.label
            with handle.answering_as(label, ready.plan.state) as model:
                yield model
        finally:
            mount.put_in(handle.root)

    return answering


def _time_left(ready: Prepared) -> float | None:
    """Seconds of the run's budget that its first part, if it had one, didn't take."""
    if ready.request.budget is None:
        return None
    spent = ready.resumed.metrics.get("seconds", 0.0) if ready.resumed else 0.0
    return max(1.0, seconds_of(ready.request.budget) - spent)


def _finished(ready: Prepared, mount: Mount) -> Mount:
    """What the method keeps of the trained mount, in its place."""
    from nbpeft.mounts import headed

    root = ready.handle.root
    inner, head = headed.parted(mount)
    kept = ready.method.finish(inner, root)
    if kept is inner:
        return mount
    mount.detach(root)
    kept = kept if head is None else headed.HeadedMount(kept, head)
    kept.attach(root)
    return kept


def _resume_from(ready: Prepared, session: Session, folder: Path) -> Path | None:
    """The stopped run's state, under the name that the trainer reads the step from."""
    if ready.resumed is None:
        return None
    kept = session.shelf.resume_folder(ready.resumed)
    assert kept is not None  # checked while preparing
    checkpoint = folder / f"checkpoint-{int(ready.resumed.metrics['steps'])}"
    shutil.copytree(kept, checkpoint)
    return checkpoint


def _keep(
    ready: Prepared, session: Session, mount: Mount, record: Record, outcome: Outcome
) -> tuple[Record, Outcome, Exception | None]:
    """Shelve; an adapter that can't be written stays in the kernel, and the error is handed on."""
    handle = ready.handle
    try:
        record = session.shelf.put(
            record,
            lambda folder: mount.save(handle.root, folder),
            resume=outcome.resume,
            keep=configured().keep_versions,
        )
    except Exception as error:  # noqa: BLE001  raised again by `run`, once the model is put back
        return session.keep_unsaved(handle, record, mount), outcome, error
    if ready.resumed is not None:
        session.shelf.drop_resume(ready.resumed)
    session.shelf.drop_unfinished(record.name)
    return session.keep(handle, record, mount), outcome, None


@contextlib.contextmanager
def _on_base(ready: Prepared) -> Iterator[None]:
    """The bare base in the precision that is trained on.

    Around the guard: what that changes of the model isn't the training's, and holding on to what
    the model held before would keep it in memory.
    """
    handle = ready.handle
    with handle.bare(ready.plan.state, in_place=ready.request.in_place), trainable(handle.root):
        yield


@contextlib.contextmanager
def _guarded(ready: Prepared) -> Iterator[None]:
    handle = ready.handle
    alone = beside() is None
    with Guard(handle.root, handle.owner, tokenizer=ready.tokenizer, random=alone), quiet():
        yield


@contextlib.contextmanager
def _reported(events: Events) -> Iterator[None]:
    """Views learn of an end that is not a success, and close what they show."""
    try:
        yield
    except BaseException as error:
        events.emit(Failed(" ".join(str(error).split()) or type(error).__name__))
        raise


@contextlib.contextmanager
def _scrubbed() -> Iterator[None]:
    """Free what a failed run holds: its traceback's frames keep batches, gradients, optimizer."""
    try:
        yield
    except BaseException as error:
        scrub(error)
        raise
    finally:
        _free()


def scrub(error: BaseException) -> None:
    """Let an error go on without what the frames on its way held."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__context__


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
