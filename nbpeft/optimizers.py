"""Optimizers by name (`optim`): whether one can be used here, and what it leaves behind.

The names are transformers' own. The trainer builds its optimizer late, over a model that is
mounted already; here one is built early, over a parameter of its own, to learn what would fail.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError
from nbpeft.guard import random_state, restore_random_state

if TYPE_CHECKING:
    import torch
    from transformers import TrainingArguments

SIZE = 64
"""Rows and columns of the layer that an optimizer is tried on: bitsandbytes keeps the state of
parameters below 4,096 values in 32 bits, whatever the name says."""
UNPAGED = {"paged_adamw_32bit": "adamw_torch", "paged_ademamix_32bit": "ademamix"}
"""Paged optimizers whose like without paging has another name than their own less `paged_`."""


def check_optimizer(arguments: TrainingArguments, device: torch.device) -> None:
    """Step the optimizer of a trainer's config once, on a layer made for it.

    Raises:
        RequestError: its library isn't installed, is too old for the device, or refuses its
            settings (`adam_beta1`, `optim_args`).
    """
    state = random_state()
    try:
        _try(arguments, device)
    except Exception as error:  # noqa: BLE001  every library has its own kind
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise RequestError(
            f"The optimizer {arguments.optim.value} can't be used here: {reason}; choose another "
            "optim, such as adamw_torch, or leave it out."
        ) from None
    finally:
        restore_random_state(state)


def _try(arguments: TrainingArguments, device: torch.device) -> None:
    from torch import nn
    from transformers import Trainer
    from transformers.trainer_optimizer import is_optimizer_factory

    layer = nn.Linear(SIZE, SIZE, bias=False, device=device)
    arguments = copy.copy(arguments)
    if arguments.optim_target_modules is not None:  # names of the user's model; here is one layer
        arguments.optim_target_modules = "all-linear"
    kind, words = Trainer.get_optimizer_cls_and_kwargs(arguments, layer)
    if is_optimizer_factory(kind) or words.keys() & {"params", "model", "optimizer_dict"}:
        return  # made for a whole model: that its library is there is all that is asked
    layer.weight.grad = layer.weight.detach().clone()
    kind([layer.weight], **words).step()


def optimizer_notes(optim: str, device: torch.device) -> list[str]:
    """What the plan says of the optimizer: on a CPU, what a paged one is there.

    Paged states lie in CUDA's unified memory (Dettmers et al. 2023, arXiv:2305.14314, section 3).
    """
    if not optim.startswith("paged_") or device.type != "cpu":
        return []
    plain = UNPAGED.get(optim, optim.removeprefix("paged_"))
    return [f"{optim} pages nothing on a CPU: it works as {plain} here"]


@contextlib.contextmanager
def optimizers_apart() -> Iterator[None]:
    """A run's 8-bit optimizer sees nothing of those before it, and leaves nothing.

    bitsandbytes notes in this process which parameters have states of 32 bits, by their place in
    the optimizer: an embedding's of one run would be another parameter's of the next. It also holds
    the embeddings and the paged states themselves, long after the user has dropped the model.
    """
    before = [copy.copy(notes) for notes in _notes()] or [{}, {}, [], []]
    _replace([{}, {}, [], []])
    try:
        yield
    finally:
        _replace(before)


def _notes() -> list[Any]:
    """The containers in which bitsandbytes notes things; none while it isn't imported."""
    if "bitsandbytes" not in sys.modules:
        return []
    from bitsandbytes.functional import GlobalPageManager
    from bitsandbytes.optim.optimizer import GlobalOptimManager

    manager, pages = GlobalOptimManager.get_instance(), GlobalPageManager.get_instance()
    configs = [manager.pid2config, manager.index2config]
    return [*configs, manager.module_weight_config_triple, pages.paged_tensors]


def _replace(contents: list[Any]) -> None:
    """Fill the containers anew; the objects stay, which optimizers hold."""
    for notes, content in zip(_notes(), contents, strict=False):
        notes.clear()
        notes.update(content) if isinstance(notes, dict) else notes.extend(content)
