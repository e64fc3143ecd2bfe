"""This kernel: the trainer runs where the model is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.events import Evaluated, Progressed, Started
from nbpeft.optimizers import optimizers_apart
from nbpeft.places import Job, Outcome, places
from nbpeft.places.budget import UNKNOWN, Budget
from nbpeft.places.fast import fast
from nbpeft.places.memory import Memory
from nbpeft.places.moved import Moved
from nbpeft.places.out_of_memory import Halving, Keeping
from nbpeft.places.sampling import Sampler
from nbpeft.places.states import Checkpoints, load_trained, save_trained, stripped

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Kernel:
    """Trains in this process, on the device where the model lies."""

    name: str = "kernel"
    summary: str = "in this kernel, on the model's device"

    def train(self, job: Job) -> Outcome:
        """Train with the objective's trainer; the loss gets the method's penalty added."""
        outcome = Outcome()
        trainer = trainer_of(job, outcome)
        began = time.monotonic()
        try:
            with fast(job, trainer), optimizers_apart(), job.stop.interruptible():
                trainer.data_collator = Keeping(trainer.data_collator)
                trainer.train(resume_from_checkpoint=job.resume_from and str(job.resume_from))
        except KeyboardInterrupt:
            outcome.stopped = True
            if trainer.state.global_step and not trainer.watch.in_step:
                trainer._save_checkpoint(trainer.model, trial=None)
        outcome.stopped |= job.stop.asked and trainer.state.global_step < trainer.state.max_steps
        outcome.seconds = time.monotonic() - began
        outcome.steps = trainer.state.global_step
        outcome.steps_planned = trainer.state.max_steps
        trainer.watch.memory.read()
        outcome.peak_memory = trainer.watch.memory.peak
        if outcome.stopped:
            outcome.resume = stripped(job.folder, outcome.steps)
        return outcome


places.add(Kernel())


def trainer_of(job: Job, outcome: Outcome, watching: type[Any] | None = None) -> Any:
    """The objective's trainer, silenced, watched, and with the seam's loss.

    `watching` is its callback's class, made from (job, outcome): `_Watch`, unless the step is to
    be looked at and not trained. It has a `memory`, which is asked to `look` after each forward.
    """
    from transformers import PrinterCallback, TrainerCallback

    watch = type("Watch", (watching or _Watch, TrainerCallback), {})(job, outcome)
    callbacks = [watch]
    if job.checkpoint is not None:
        callbacks.append(type("Checkpoints", (Checkpoints, TrainerCallback), {})(job, outcome))
    budget = None
    if job.budget is not None:
        budget = type("Budget", (Budget, TrainerCallback), {})(job, watch)
        callbacks.append(budget)

    with _dtypes_kept(job.model):
        trainer = _seam_trainer(job, watch)(
            model=job.model,
            args=_arguments(job),
            data_collator=job.objective.batch(job.tokenizer),
            train_dataset=job.rows.train,
            eval_dataset=job.rows.held_out,
            processing_class=job.tokenizer,
            callbacks=callbacks,
        )
    if not trainer.args.gradient_checkpointing:
        _checkpoint_nothing(job.model)
    if budget is not None:
        budget.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    trainer.watch, trainer.events = watch, job.events
    return trainer


def _seam_trainer(job: Job, watch: Any) -> type[Any]:
    """The class of the objective's trainer, with what a run adds to it."""
    base = job.objective.trainer_class()

    class SeamTrainer(Halving, base):  # type: ignore[misc,valid-type]
        """The objective's trainer; its loss, plus the method's penalty while training."""

        def compute_loss(
            self,
            model: nn.Module,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            watch.memory.look()
            extra = job.method.penalty(model) if model.training else None
            if extra is None:
                return result
            if num_items_in_batch is not None:  # else the trainer divides the loss, all of it
                extra = extra / self.current_gradient_accumulation_steps
            return (result[0] + extra, *result[1:]) if isinstance(result, tuple) else result + extra

        def floating_point_ops(self, inputs: dict[str, Any]) -> int:
            return 0  # a walk over all parameters, each batch, for a figure that nobody sees

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            # What a run goes on from: the base is there already, whatever is trained.
            save_trained(job, Path(output_dir or job.folder))

        def _load_from_checkpoint(self, folder: str, model: Any = None) -> None:
            load_trained(job, Path(folder))

    return SeamTrainer


def _checkpoint_nothing(model: nn.Module) -> None:
    """An earlier training may have left checkpointing on, which the trainer never turns off.

    The guard turns it on again after the run.
    """
    for module in model.modules():
        if vars(module).get("gradient_checkpointing"):
            module.gradient_checkpointing = False


@contextlib.contextmanager
def _dtypes_kept(model: nn.Module) -> Iterator[None]:
    """What is trained keeps its precision, which TRL rounds to bf16 over a quantized base."""
    before = [(p, p.data) for p in model.parameters() if p.requires_grad]
    yield
    for parameter, data in before:
        parameter.data = data


def _arguments(job: Job) -> Any:
    """The trainer's config: what was asked for, the device, and nothing that talks or writes."""
    device = next(job.model.parameters()).device
    arguments = job.objective.config_class()(
        **job.settings,
        output_dir=str(job.folder),
        report_to="none",
        disable_tqdm=True,
        logging_strategy="steps",
        logging_steps=1,
        eval_strategy="no",
        eval_on_start=job.rows.held_out is not None and job.resume_from is None,
        save_strategy="no",
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
    )
    # One model on one device: several visible GPUs must not wrap it in DataParallel.
    _ = arguments.device
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def evaluation_steps(steps: int, rows_seen: int, held_out_rows: int) -> set[int]:
    """When to read the held-out rows: the last step always, between as often as it stays cheap.

    A held-out row costs a third of a trained one (no backward); the evaluations together stay
    within a tenth of the training, at most eight.
    """
    affordable = int(0.3 * rows_seen / max(1, held_out_rows))
    count = max(1, min(8, affordable))
    return {round(steps * (i + 1) / count) for i in range(count)}


class _Watch:
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
        self.moved = Moved(job.model, job.method)
        device = next(job.model.parameters()).device
        self.memory = Memory(device)
        outcome.device = str(device)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Announce the run; measure the held-out loss before the first step."""
        self.began = self.aside_since = time.monotonic()
        unknown = self.job.budget is not None and state.max_steps == UNKNOWN
        steps = 0 if unknown else state.max_steps
        self.job.events.emit(Started(self.job.name, steps, done=state.global_step))
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
            if "loss" in entry:
                self.outcome.losses.append((entry["step"], entry["loss"]))
            if "eval_loss" in entry:
                self.outcome.held_out.append((entry["step"], entry["eval_loss"]))

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
            self.job.events.emit(Evaluated(state.global_step, metrics["eval_loss"]))

    def _sample(self, step: int, *, always: bool) -> None:
        sample = self.sampler.sample(step, always=always)
        if sample is not None:
            self.outcome.samples.append(sample)
            self.job.events.emit(sample)
