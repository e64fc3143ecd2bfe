"""The trainer's callback: what a run says while it goes on, when it looks, and when it stops."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from nbpeft.events import Evaluated, Figure, Progressed, Started
from nbpeft.places import Job, Outcome
from nbpeft.places.budget import UNKNOWN
from nbpeft.places.memory import Memory
from nbpeft.places.moved import Moved
from nbpeft.places.sampling import Sampler


def evaluation_steps(steps: int, rows_seen: int, held_out_rows: int) -> set[int]:
    """When to read the held-out rows: the last step always, between as often as it stays cheap.

    A held-out row costs a third of a trained one (no backward); the evaluations together stay
    within a tenth of the training, at most eight.
    """
    affordable = int(0.3 * rows_seen / max(1, held_out_rows))
    count = max(1, min(8, affordable))
    return {round(steps * (i + 1) / count) for i in range(count)}


class Watch:
    """The trainer's callback: tells the events, asks for evaluations, looks for Stop."""

    def __init__(self, job: Job, outcome: Outcome) -> None:
        self.job = job
        self.outcome = outcome
        self.in_step = False
        self.began = time.monotonic()
        self.aside = 0.0
        """Seconds that went to evaluations and samples, and since when one of them goes on."""
        self.aside_since: float | None = None
        self.evaluate_at: set[int] = set()
        self.sampler = Sampler(job)
        self.moved = Moved(job.model, job.method, job.objective.nothing)
        device = next(job.model.parameters()).device
        self.memory = Memory(device)
        outcome.device = str(device)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Announce the run; measure the held-out loss before the first step."""
        self.began = self.aside_since = time.monotonic()
        unknown = self.job.budget is not None and state.max_steps == UNKNOWN
        steps = 0 if unknown else state.max_steps
        self.job.events.emit(
            Started(
                self.job.name, steps, done=state.global_step, unit=self.job.objective.unit,
                run=self.job.stop.run,
            )
        )  # fmt: skip
        self.evaluate_at = self.evaluations(args, state.max_steps)
        self._recall(state)
        if self.job.resume_from is None:
            self._sample(0, always=True)
        return control

    def evaluations(self, args: Any, steps: int) -> set[int]:
        """When a run of so many steps looks at held-out rows."""
        held_out = self.job.rows.held_out
        seen = steps * args.train_batch_size * args.gradient_accumulation_steps
        # Without held-out rows there is a sample to read all the same.
        return evaluation_steps(steps, seen, 0 if held_out is None else len(held_out))

    def _recall(self, state: Any) -> None:
        """A resumed run goes on with the curve of its first part."""
        for entry in state.log_history:
            step = entry["step"]
            if "loss" in entry:
                self.outcome.losses.append((step, entry["loss"]))
                _note(self.outcome.figures, step, self._figures(entry, ""))
            if "eval_loss" in entry:
                self.outcome.held_out.append((step, entry["eval_loss"]))
                _note(self.outcome.held_out_figures, step, self._figures(entry, "eval_"))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Training goes on: what took place since the last step was something else."""
        if self.aside_since is not None:
            self.aside += time.monotonic() - self.aside_since
            self.aside_since = None
        self.job.method.before_step(self.job.model, state.global_step + 1)
        self.moved.before_step()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """From here to the step's end the weights are between two states."""
        self.in_step = True
        self.moved.before_update()

    def on_optimizer_step(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any
    ) -> None:
        """See what the optimizer did, then let the method act while the gradients are there."""
        rising = state.global_step < args.get_warmup_steps(state.max_steps)
        self.moved.after_update(optimizer, step=state.global_step + 1, rising=rising)
        self.job.method.after_step(self.job.model, state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """The step is whole: see what is due."""
        self.in_step = False
        if self.job.stop.asked and state.global_step < state.max_steps:
            control.should_training_stop = True
            control.should_save = True
        elif state.global_step in self.evaluate_at and self.job.rows.held_out is not None:
            control.should_evaluate = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A whole run has trained something."""
        if state.global_step >= state.max_steps:
            self.moved.finish()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """One training loss a step; where an evaluation is due, a sample goes before it."""
        if not logs or "loss" not in logs:
            return
        now = time.monotonic()
        tokens = int(logs.get("num_tokens", 0))
        self.outcome.tokens_per_second = tokens / max(1e-9, now - self.began - self.aside)
        self.outcome.losses.append((state.global_step, logs["loss"]))
        figures = self._figures(logs, "")
        _note(self.outcome.figures, state.global_step, figures)
        self.job.events.emit(
            Progressed(
                step=state.global_step,
                steps=0 if state.max_steps == UNKNOWN else state.max_steps,
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                seconds=now - self.began,
                tokens=tokens,
                tokens_per_second=self.outcome.tokens_per_second,
                memory=self.memory.now,
                peak_memory=self.memory.peak,
                figures=figures,
            )
        )
        if state.global_step in self.evaluate_at and not self.job.stop.asked:
            self.aside_since = now
            self._sample(state.global_step, always=state.global_step >= state.max_steps)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        """One held-out loss."""
        if metrics and "eval_loss" in metrics:
            self.outcome.held_out.append((state.global_step, metrics["eval_loss"]))
            figures = self._figures(metrics, "eval_")
            _note(self.outcome.held_out_figures, state.global_step, figures)
            self.job.events.emit(Evaluated(state.global_step, metrics["eval_loss"], figures))

    def _figures(self, logs: Mapping[str, Any], prefix: str) -> tuple[Figure, ...]:
        """What the objective measures, of what the trainer has logged."""
        return tuple(
            Figure(measure.name, float(logs[prefix + measure.key]), measure.share)
            for measure in self.job.objective.measures
            if prefix + measure.key in logs
        )

    def _sample(self, step: int, *, always: bool) -> None:
        sample = self.sampler.sample(step, always=always)
        if sample is not None:
            self.outcome.samples.append(sample)
            self.job.events.emit(sample)


def _note(kept: dict[str, list[tuple[int, float]]], step: int, figures: tuple[Figure, ...]) -> None:
    for figure in figures:
        kept.setdefault(figure.name, []).append((step, figure.value))
