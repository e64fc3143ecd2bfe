"""From a request to a job: what can be refused is refused here, before the cell returns."""

from __future__ import annotations

import atexit
import functools

from nbpeft.background.job import Job
from nbpeft.background.names import held
from nbpeft.background.queue import queue
from nbpeft.beside import beside
from nbpeft.bindings import Bindings
from nbpeft.chains import run
from nbpeft.errors import ModelError, RequestError, Stopped, listed
from nbpeft.prepare import look_over
from nbpeft.request import Request
from nbpeft.session.models import root_of
from nbpeft.session.session import Session


def start(request: Request, session: Session, bindings: Bindings) -> Job:
    """Begin a run in the background, once it is prepared; or let it wait for those before it.

    Raises what the run would before it begins. One that waits is looked over only: its model is
    another run's. What it names is what it is now, also when its turn comes.
    """
    if beside() is not None:
        raise RequestError("A background run can't begin another: leave background out.")
    model, bindings = held(request, bindings)
    handle = session.known(root_of(model.value))
    if handle is not None and handle.turn.is_mine:
        raise ModelError(
            f"{model.name} answers as another adapter inside this block: begin the run after it."
        )
    if queue.open:
        look_over(request, bindings)
    work = functools.partial(run, request, session, bindings)
    job = Job(request.name, model.name, work, queue)
    queue.add(job)
    first = queue.before(job)
    if first:
        job.begun.set()
        job.say(f"{request.name} waits for {listed(j.name for j in first)}: %peft_jobs")
    _at_exit()
    job.start()
    if not first:
        _until_prepared(job)
    return job


def _until_prepared(job: Job) -> None:
    """Let the cell wait; what the run raises until then is the cell's."""
    try:
        job.begun.wait()
    except KeyboardInterrupt:
        job.ask()
        raise Stopped(f"{job.name} is asked to stop; %peft_jobs says what becomes of it.") from None
    if job.is_refused and job.error is not None:
        queue.drop(job)
        raise job.error


@functools.cache
def _at_exit() -> None:
    atexit.register(queue.end)
