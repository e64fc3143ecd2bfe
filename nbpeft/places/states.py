"""What a run goes on from: its trained parameters, optimizer, schedule and random states, in files.

Written when a run is stopped, and now and then while it goes on, so that a kernel that the system
kills (a CPU's memory ran out) loses minutes and not the run.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.events import Noted

if TYPE_CHECKING:
    from nbpeft.places import Job, Outcome

TRAINED = "trained.safetensors"
"""The trainable parameters, and what else the method goes on from."""
KEPT = (
    TRAINED,
    "optimizer.pt",
    "scheduler.pt",
    "scaler.pt",
    "rng_state.pth",
    "trainer_state.json",
)
"""Read back with weights_only=True by the trainer; training_args.bin, a pickle, is left out."""


class Checkpoints:
    """The trainer's callback that has a run's state put on the shelf, every so many seconds.

    A state that can't be written is no reason to end the run: it is said once.
    """

    def __init__(
        self, job: Job, outcome: Outcome, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._job = job
        self._outcome = outcome
        self._clock = clock
        self._began = self._last = clock()
        self._said = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The time runs from here."""
        self._began = self._last = self._clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Whether it is time; a stopped run keeps its state itself."""
        due = self._clock() - self._last >= self._job.checkpoint_seconds
        if due and not self._job.stop.asked and state.global_step < state.max_steps:
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The trainer has written it: hand it on."""
        if self._job.stop.asked or self._job.checkpoint is None:
            return
        folder = stripped(self._job.folder, state.global_step)
        assert folder is not None
        so_far = dataclasses.replace(
            self._outcome,
            steps=state.global_step,
            steps_planned=state.max_steps,
            seconds=self._clock() - self._began,
            stopped=True,
            resume=folder,
        )
        try:
            self._job.checkpoint(so_far)
        except OSError as error:
            if not self._said:
                self._said = True
                text = f"the run's state can't be kept while it goes on ({error.strerror})"
                self._job.events.emit(Noted(text))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._last = self._clock()


def save_trained(job: Job, folder: Path) -> None:
    """Write what a run goes on from, beside the optimizer's state."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    trained = {n: p.detach() for n, p in job.model.named_parameters() if p.requires_grad}
    kept = {f"parameter {name}": value for name, value in trained.items()}
    state = job.method.training_state(job.model)
    kept |= {f"state {name}": value for name, value in state.items()}
    save_file({name: value.contiguous() for name, value in kept.items()}, str(folder / TRAINED))


def load_trained(job: Job, folder: Path) -> None:
    """Put back what `save_trained` wrote, bit for bit."""
    import torch
    from safetensors.torch import load_file

    kept = load_file(str(folder / TRAINED))
    with torch.no_grad():
        for name, parameter in job.model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(kept.pop(f"parameter {name}"))
    state = {name.removeprefix("state "): value for name, value in kept.items()}
    job.method.load_training_state(job.model, state)


def stripped(folder: Path, step: int) -> Path | None:
    """The trainer's checkpoint of a step, stripped to what resuming reads."""
    checkpoint = folder / f"checkpoint-{step}"
    if not checkpoint.is_dir():
        return None
    for path in checkpoint.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return checkpoint
