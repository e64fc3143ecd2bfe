"""What makes a run fast, put in around it and taken out again.

Left out: `torch.compile`, which was measured as a tie on a CPU after half a minute of compiling,
and compiles anew for new lengths; and Liger's kernels: most of what they save is a head that never
holds all logits, and `nbpeft.seam.head` is one, for more architectures and on a CPU too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nbpeft.events import Noted
from nbpeft.places import Job

if TYPE_CHECKING:
    from torch import nn

WORTH_ROUNDING = 8_000_000
"""Frozen parameters from which products in bf16 save more time than their rounding is worth: those
of a smaller model take little of a step anyway, and it is trained in the precision that it has."""


@contextlib.contextmanager
def fast(job: Job, trainer: Any) -> Iterator[None]:
    """Inside, `trainer.train` runs as fast as this model and these settings allow.

    The way that batches go is tried out first, in the precision that the user chose; then LoRA's
    layers and frozen weights are stood in for by faster ones. All are the user's own again after.
    """
    from nbpeft.precision.heap import kept

    slower = job.objective.quicken(trainer, job.settings)
    if slower:
        job.events.emit(Noted(slower))
    with kept(), stood_in_for(job.model, lean=job.lean):
        yield


@contextlib.contextmanager
def stood_in_for(model: nn.Module, *, lean: bool = False) -> Iterator[None]:
    """Inside, layers are stood in for by faster ones; `lean`, by those that take no memory."""
    from nbpeft.seam.casting import frozen_in_fast_dtype
    from nbpeft.seam.lora import fused

    with contextlib.ExitStack() as around:
        if not lean and frozen_parameters(model) >= WORTH_ROUNDING:
            around.enter_context(frozen_in_fast_dtype(model))
        around.enter_context(fused(model))
        yield


def frozen_parameters(model: nn.Module) -> int:
    """How many values aren't trained."""
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)
