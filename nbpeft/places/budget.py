"""A run that ends within a time: how many steps fit is found from the first few.

The learning rate falls by the number of steps, so that number must be known early and be right: it
is set once, after a few steps were timed, and the schedule made anew for it. Steps are timed by
their tokens, since the first batches may be longer than most; reading the held-out rows and
answering the sample prompt are in the time.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, quoted
from nbpeft.events import Noted
from nbpeft.places import Job
from nbpeft.rendering import duration

if TYPE_CHECKING:
    from nbpeft.places.watch import Watch

UNKNOWN = 10**6
"""Steps of a run that only time limits, until it is known how many fit."""
TIMED = 4
"""Steps that are timed at least, after the first one, which warms up."""
SHARE = 0.05
"""Of the budget: steps are timed for so long, or until MOST have been."""
MOST = 40
SPARE = 0.03
"""Of the budget, left free: steps differ, and the adapter is to be written."""


def seconds_of(text: str) -> float:
    """'15min', '1h30m', '90s' in seconds; RequestError for anything else."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+)s)?", text.strip())
    parts = [int(part or 0) for part in found.groups()] if found else []
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if seconds <= 0:
        raise RequestError(
            f"budget can't be {quoted(text)}: a time with its unit is wanted, such as 15min, "
            "1h30m or 90s."
        )
    return float(seconds)


class Budget:
    """The trainer's callback that sets the number of steps; beside `Watch`, and after it."""

    def __init__(self, job: Job, watch: Watch, clock: Callable[[], float] = time.monotonic) -> None:
        assert job.budget is not None
        self.trainer: Any = None
        """Set once it is made: its schedule is made anew."""
        self._budget = job.budget
        self._job = job
        self._watch = watch
        self._clock = clock
        self._decided = False
        self._began = self._step_began = self._seconds = 0.0
        self._looking: float | None = None
        """Seconds that one look at held-out rows and sample takes."""
        self._timed = self._tokens = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The time runs from here; a run that goes on and knows its number keeps it."""
        self._began = self._clock()
        known = self._known()
        if known is not None and known < state.max_steps:
            self._set(state, args, known)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What took place before the first step takes place again later."""
        self._step_began = self._clock()
        if self._looking is None:
            self._looking = self._step_began - self._began

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> Any:
        """A step is done: time it, and decide once enough are timed."""
        if self._decided or not logs or "loss" not in logs:
            return control
        now = self._clock()
        self._timed += 1
        tokens = int(logs.get("num_tokens", 0))
        if self._timed == 1:
            self._tokens = tokens
            return control
        self._seconds += now - self._step_began
        enough = self._seconds >= SHARE * self._budget or self._timed > MOST
        if (self._timed > TIMED and enough) or now - self._began >= self._usable:
            steps = self._fitting(state, args, now, tokens - self._tokens)
            self._set(state, args, max(state.global_step, steps))
            text = f"{state.max_steps:,} steps fit into {duration(self._budget)}"
            self._job.events.emit(Noted(text))
        if state.global_step >= state.max_steps:
            control.should_training_stop = True
            control.should_evaluate = self._job.rows.held_out is not None
        return control

    @property
    def _usable(self) -> float:
        return (1 - SPARE) * self._budget

    def _known(self) -> int | None:
        """The number that the first part of a stopped run came to."""
        if self._job.resume_from is None:
            return None
        state = json.loads((self._job.resume_from / "trainer_state.json").read_text())
        return int(state["max_steps"])

    def _fitting(self, state: Any, args: Any, now: float, tokens: int) -> int:
        """How many steps fit in all, with the looks at held-out rows between them."""
        left = self._usable - (now - self._began)
        step = self._step_seconds(args, tokens)
        count = state.global_step + int(left / step)
        for _ in range(3):  # fewer steps, fewer looks
            looks = len(self._watch.evaluations(args, count)) * (self._looking or 0)
            count = state.global_step + int(max(0, left - looks) / step)
        return min(count, state.max_steps)

    def _step_seconds(self, args: Any, tokens: int) -> float:
        """Of a step over rows of average length, from those that were timed."""
        if tokens <= 0:
            return max(self._seconds / (self._timed - 1), 1e-6)
        rows = self._job.rows
        batch = args.train_batch_size * args.gradient_accumulation_steps
        average = rows.tokens / len(rows.train) * min(batch, len(rows.train))
        return max(self._seconds / tokens * average, 1e-6)

    def _set(self, state: Any, args: Any, steps: int) -> None:
        """The run has so many steps, and so have its schedule and what its method does by steps."""
        self._decided = True
        before, state.max_steps = state.max_steps, steps
        if steps == before:
            return
        self._watch.evaluate_at = self._watch.evaluations(args, steps)
        self._job.method.rescheduled(self._job.model, before, steps)
        self._remake_schedule(state, args)

    def _remake_schedule(self, state: Any, args: Any) -> None:
        """As it would have been from the first step, and as far as the run is."""
        from transformers import get_scheduler

        trainer = self.trainer
        for group in trainer.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        schedule = get_scheduler(
            args.lr_scheduler_type,
            optimizer=trainer.optimizer,
            num_warmup_steps=args.get_warmup_steps(state.max_steps),
            num_training_steps=state.max_steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,
        )
        for _ in range(state.global_step):
            schedule.step()
        trainer.lr_scheduler = trainer.callback_handler.lr_scheduler = schedule
