"""One run in a thread of its own: how far it is, its end, what came of it."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from nbpeft import views
from nbpeft.background.apart import apart, device_here, use_device
from nbpeft.background.fence import fenced
from nbpeft.beside import Beside, running
from nbpeft.errors import Stopped
from nbpeft.events import Event, Events, Failed, Finished, Noted, Progressed, Started
from nbpeft.rendering import count
from nbpeft.views import Corner
from nbpeft.views.progress import Progress

if TYPE_CHECKING:
    from types import TracebackType

    from nbpeft.background.queue import Queue
    from nbpeft.run import Run
    from nbpeft.session.models import Handle

State = Literal["waiting", "running", "done", "stopped", "failed"]
Work = Callable[[Callable[[], Events]], "Run"]
"""What is run: given what makes the listeners of a run."""


class Job:
    """A run in the background; `nbpeft.finetune(..., background=True)` returns one.

    `.state` is waiting, running, done, stopped or failed; `.wait()` blocks until it is over,
    `.stop()` ends it after its step, `.result` is its `Run` once it is done. `.error` is what a
    run raised that has failed or was stopped.
    """

    def __init__(self, name: str, model: str, work: Work, queue: Queue) -> None:
        self.name = name
        self.state: State = "waiting"
        self.result: Run | None = None
        self.error: BaseException | None = None
        self.told = False
        """Whether somebody who waited has been told of its end."""
        self.progress = Progress()
        self.begun = threading.Event()
        """Set once it is prepared, or over."""
        self._over = threading.Event()
        self._model = model
        self._work: Work | None = work
        self._queue = queue
        self._taken = contextlib.ExitStack()
        self._has: list[Handle] = []
        self._beside = Beside(self._take)
        self._corner = Corner.here()
        self._view = views.choose() if self._corner is None else views.choose(self._corner.publish)
        self._trace: TracebackType | None = None
        self._is_prepared = False
        self._is_under_way = False
        self._shows_failure = False
        self._device = device_here()
        # A kernel knows by the context which cell an output is of.
        go = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=go, args=(self._go,), name=f"nbpeft {name}", daemon=True
        )

    # What users call

    def wait(self, timeout: float | None = None) -> Run:
        """Until it is over, and its `Run`; raises what the run raised.

        ■ ends the waiting and not the run. TimeoutError after `timeout` seconds.
        """
        try:
            over = self._over.wait(timeout)
        except KeyboardInterrupt:
            raise Stopped(f"no longer waiting; {self.name} goes on in the background.") from None
        if not over:
            raise TimeoutError(f"{self.name} is {self.state} after {timeout:g} s.")
        self.told = True
        if self._corner is not None:
            self._corner.again()
        if self.error is not None:
            raise self.error.with_traceback(self._trace)  # and not what earlier ones led to
        assert self.result is not None
        return self.result

    def stop(self) -> None:
        """End it after its step; the adapter is kept as far as it is. One that waits never runs."""
        waited = self.state == "waiting"
        self.ask()
        if waited:
            self.join(1.0)

    @property
    def where(self) -> str:
        """'step 12 of 100'; '' before the first."""
        if self.progress.started is None:
            return ""
        latest, started = self.progress.latest, self.progress.started
        step, steps = (latest.step, latest.steps) if latest else (started.done, started.steps)
        return f"step {count(step)}" + (f" of {count(steps)}" if steps else "")

    @property
    def left(self) -> str:
        """The time that is left, in words; '' where that isn't known."""
        return "" if self.is_over else self.progress.left

    def __repr__(self) -> str:
        return f"Job({self.name}: {', '.join(filter(None, (self.state, self.where)))})"

    # What the queue and the door call

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self._over.is_set()

    @property
    def is_asked(self) -> bool:
        """Whether it should end."""
        return self._beside.asked.is_set()

    @property
    def is_refused(self) -> bool:
        """Whether it is over before it was prepared."""
        return self.is_over and not self._is_prepared

    def start(self) -> None:
        """Let it run, or wait for its turn."""
        self._thread.start()

    def ask(self) -> None:
        """End it after its step; safe from any thread."""
        self._beside.asked.set()
        self._queue.tell()

    def join(self, seconds: float) -> None:
        """Wait so long for its end."""
        self._over.wait(seconds)

    def say(self, text: str) -> None:
        """A line in its cell."""
        self._view(Noted(text))

    # In its thread

    def _go(self) -> None:
        try:
            self._queue.wait(self)
            self.state = "running"
            use_device(self._device)
            assert self._work is not None
            with running(self._beside), apart(), self._taken:
                self.result = self._work(lambda: Events([self._view, self._hear]))
            self.state = "done"
        except BaseException as error:  # noqa: BLE001  raised again where somebody waits
            self._end(error)
        finally:
            self._work = None  # it holds the model
            self._has.clear()
            self._over.set()
            self.begun.set()
            self._queue.tell()

    def _end(self, error: BaseException) -> None:
        from nbpeft.run import scrub

        scrub(error)
        self.error, self._trace = error, error.__traceback__
        self.state = "stopped" if isinstance(error, Stopped) else "failed"
        if self.begun.is_set() and not self._shows_failure:
            self.say(f"{self.name} {self.state}: {error or type(error).__name__}")

    def _hear(self, event: Event) -> None:
        match event:
            case Started():
                self.progress = Progress()
                self.progress.start(event)
                self._is_under_way = True
            case Progressed():
                self.progress.step(event)
            case Finished():
                self._is_under_way = False
            case Failed():
                self._shows_failure = self._is_under_way
        self._is_prepared = True
        self.begun.set()

    def _take(self, handle: Handle) -> None:
        """Keep a model from all other threads until the job is over."""
        if handle not in self._has:
            tuned = not self._has
            self._taken.enter_context(fenced(handle, lambda: self._why(tuned), self._beside.asked))
            self._has.append(handle)

    def _why(self, tuned: bool) -> str:
        where = f" ({self.where})" if self.where else ""
        what = (
            f"{self._model} is being tuned in the background by {self.name}{where}"
            if tuned
            else f"This model is needed by the background run {self.name}{where}"
        )
        return (
            f"{what}: wait with %peft_jobs --wait, or stop it with %peft_jobs --stop {self.name}."
        )
