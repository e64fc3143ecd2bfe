"""The peak memory of a run's training step, from a step of that very run without any values.

What is run is the run itself: its trainer, its collator, its loss, its optimizer, its method's
hooks, for one optimizer step over the longest rows; on a model by shape only (`skeleton`), under a
count of what is alive (`live`). So whatever decides over a run's memory (checkpointing, padding or
packing, the precision, a penalty, what a method keeps beside) is counted where it happens, and
nothing here knows of it.

Not seen: what kernels take for themselves while they run.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.guard import Guard
from nbpeft.places import Job, Outcome
from nbpeft.quiet import quiet

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nbpeft.fitting.live import Live, Peak
    from nbpeft.methods import Method
    from nbpeft.seam.probe import Choice

MICRO_BATCHES = 2
"""As many batches are accumulated as can differ: in the second, gradients are there already."""


@dataclass(frozen=True)
class Traced:
    """Bytes of a run at its peak, by what they are; `peak` is their sum."""

    weights: int
    """The base's, in the precision that it is trained on."""
    adapter: int
    """What is trained, and copies of base weights."""
    gradients: int
    optimizer: int
    """Its state, and what the method keeps from step to step."""
    copies: int
    """Of frozen weights, in the precision that is fast."""
    activations: int
    """What the forward pass keeps for the backward pass, as far as it is there at the peak."""
    temporary: int
    """What an operation or the loss has for a moment."""
    in_evaluation: bool = False
    """Whether the peak is that of reading held-out rows."""

    @property
    def peak(self) -> int:
        """All of it."""
        own = self.weights + self.adapter + self.gradients + self.optimizer
        return own + self.copies + self.activations + self.temporary


@dataclass
class Watched:
    """What the steps of a trace come to."""

    live: Live
    beside: int
    """Bytes of weights and adapter that aren't in the model: the base, where all of it is tuned."""
    trainer: Any = None
    held_out: Any = None
    """Rows that are read before the first step, as a run does."""
    evaluation: Peak | None = None
    began: int = 0
    after_forward: int = 0
    step: Peak | None = None
    """Forward and backward passes, without an optimizer's state."""
    update: Peak | None = None
    copies: int = 0
    """What a forward and backward pass leave, beside gradients."""
    state: int = 0
    """What the optimizer's step leaves."""
    done: bool = False
    """Whether a first step is."""
    whole: bool = False
    """Whether a second one is: `step` is that with the optimizer's state."""


def trace(job: Job, way: Choice, static: dict[str, int], live: Live) -> Traced:
    """Run one step of `job`, whose model has fake tensors, and say what it took.

    Args:
        way: how its batches go.
        static: bytes of weights and adapter; `live` counts those of them that are in the model.

    Raises:
        Exception: whatever an operation raises that doesn't work without values.
    """
    from nbpeft.places.fast import stood_in_for
    from nbpeft.places.kernel import trainer_of

    watched = Watched(live, beside=sum(static.values()) - live.alive)
    watched.held_out = job.rows.held_out
    with Guard(tokenizer=job.tokenizer), quiet(), tempfile.TemporaryDirectory() as folder, live:
        job = replace(job, folder=Path(folder), rows=replace(job.rows, held_out=None))
        looking = type("Looking", (_Looking,), {"watched": watched})
        watched.trainer = trainer = trainer_of(job, Outcome(), looking)
        trainer.tried = way
        job.objective.quicken(trainer, job.settings)
        _follow_gradients(job.model, live)
        with stood_in_for(job.model, lean=job.lean):
            try:
                trainer.train()
            except Exception:
                if watched.step is None or watched.done:
                    raise
                # Only the optimizer's first step is left: some read values (bitsandbytes' 8 bits).
            if not watched.done:
                watched.state = state_bytes(trainer.args, job.model)
    return _summed(watched, static)


class _Looking:
    """The callback of a trace's trainer, which looks where what is alive changes its kind."""

    watched: Watched

    def __init__(self, job: Job, outcome: Outcome) -> None:
        self.job = job
        self.memory = self

    def look(self) -> None:
        """A forward pass is done."""
        watched = self.watched
        if self.job.model.training:
            kept = watched.live.alive - (watched.state if watched.done else 0)
            watched.after_forward = max(watched.after_forward, kept)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Read held-out rows, as a run does first."""
        watched = self.watched
        watched.began = watched.live.alive
        if watched.held_out is not None:
            watched.evaluation = _evaluation(watched.trainer, watched.held_out, watched.live)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What comes now is the step's."""
        self.watched.live.forget_peak()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The backward pass is done, and gradients lie there."""
        watched = self.watched
        if not watched.done:
            watched.copies = _without_gradients(watched.live) - watched.began
        watched.step = watched.live.peak
        watched.live.backward_is_done()
        watched.live.forget_peak()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """As a run does."""
        self.job.method.after_step(self.job.model, 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The optimizer's state is there; whether a second step has to be looked at."""
        watched = self.watched
        assert watched.step is not None
        if watched.done:
            watched.whole = True
        else:
            kept = watched.began + watched.copies
            watched.state, watched.done = watched.live.alive - kept, True
            # What is made in holes of the first step's takes nothing more in a second one.
            control.should_training_stop = watched.state < LITTLE * watched.step.total
        if watched.whole or control.should_training_stop:
            _late(self.job.method, self.job.model)
        watched.update = watched.live.peak


def _without_gradients(live: Live) -> int:
    return live.alive - live.kinds["gradients"]


def _late(method: Method, model: nn.Module) -> None:
    """What a method does once in a run, late: diff pruning fixes its masks over all weights."""
    method.before_step(model, LATE)


LITTLE = 0.05
"""Of a step's peak: an optimizer's state that is simply added to it."""
LATE = 10**9
"""A step after any that something is due at."""


def _follow_gradients(model: nn.Module, live: Live) -> None:
    def arrived(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        live.name(parameter.grad, "gradients")

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(arrived)


def _evaluation(trainer: Any, rows: Any, live: Live) -> Peak:
    """The peak of reading one batch of held-out rows."""
    trainer.model.eval()
    batch = next(iter(trainer.get_eval_dataloader(rows)))
    live.forget_peak()
    trainer.prediction_step(trainer.model_wrapped, batch, prediction_loss_only=True)
    return live.peak


def _summed(watched: Watched, static: dict[str, int]) -> Traced:
    """The largest of the moments, taken apart."""
    assert watched.step is not None
    state, copies = watched.state, watched.copies
    # Held-out rows are read again at the end, beside the optimizer's state.
    moments = [(watched.step.total + (0 if watched.whole else state), watched.step, False)]
    if watched.update is not None:
        moments.append(
            (watched.update.total + (0 if watched.done else state), watched.update, False)
        )
    if watched.evaluation is not None:
        moments.append((watched.evaluation.total + state, watched.evaluation, True))
    total, peak, in_evaluation = max(moments, key=lambda moment: moment[0])
    assert peak.kinds is not None
    gradients = peak.kinds["gradients"]
    rest = total + watched.beside - sum(static.values()) - gradients - state - copies
    kept = watched.after_forward - watched.began - copies
    activations = max(0, min(kept, rest)) if peak is watched.step else 0
    return Traced(
        **static,
        gradients=gradients,
        optimizer=state,
        copies=copies,
        activations=activations,
        temporary=max(0, rest - activations),
        in_evaluation=in_evaluation,
    )


def state_bytes(arguments: Any, model: nn.Module) -> int:
    """What an optimizer keeps of a model, where its step can't be traced: measured on a layer."""
    import torch
    from transformers import Trainer

    layer = torch.nn.Linear(SIZE, SIZE, bias=False)
    layer.weight.grad = torch.zeros_like(layer.weight)
    kind, words = Trainer.get_optimizer_cls_and_kwargs(arguments, layer)
    optimizer = kind([layer.weight], **words)
    optimizer.step()
    kept = [v for state in optimizer.state.values() for v in state.values()]
    size = sum(v.numel() * v.element_size() for v in kept if isinstance(v, torch.Tensor))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return round(size / layer.weight.numel() * trained)


SIZE = 128
"""Rows and columns of that layer."""
