"""This kernel: the trainer runs where the model is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.optimizers import optimizers_apart
from nbpeft.places import Job, Outcome, places
from nbpeft.places.budget import Budget
from nbpeft.places.fast import fast
from nbpeft.places.out_of_memory import Halving, Keeping
from nbpeft.places.states import Checkpoints, load_trained, save_trained, stripped
from nbpeft.places.watch import Watch

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
                if job.reference is not None:
                    job.objective.begin(trainer, job.reference)
                trainer.train(resume_from_checkpoint=job.resume_from and str(job.resume_from))
        except KeyboardInterrupt:
            outcome.stopped = True
            if trainer.state.global_step and not trainer.watch.in_step:
                trainer._save_checkpoint(trainer.model, trial=None)
        outcome.stopped |= job.stop.asked and trainer.state.global_step < trainer.state.max_steps
        outcome.seconds = time.monotonic() - began
        outcome.steps = trainer.state.global_step
        outcome.steps_planned = trainer.state.max_steps
        outcome.findings = dict(job.objective.findings(trainer))
        trainer.watch.memory.read()
        outcome.peak_memory = trainer.watch.memory.peak
        if outcome.stopped:
            outcome.resume = stripped(job.folder, outcome.steps)
        return outcome


places.add(Kernel())


def trainer_of(job: Job, outcome: Outcome, watching: type[Any] | None = None) -> Any:
    """The objective's trainer, silenced, watched, and with the seam's loss.

    `watching` is its callback's class, made from (job, outcome): `Watch`, unless the step is to
    be looked at and not trained. It has a `memory`, which is asked to `look` after each forward.
    """
    from transformers import PrinterCallback, TrainerCallback

    watch = type("Watch", (watching or Watch, TrainerCallback), {})(job, outcome)
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
    trainer.rows, trainer.stop = job.rows, job.stop
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
