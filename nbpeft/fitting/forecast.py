"""What a run will take in memory: its step traced on a skeleton of the very model and adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.events import Events
from nbpeft.fitting.batch import longest
from nbpeft.heading import with_head
from nbpeft.methods import Material, Method
from nbpeft.mounts import Mount
from nbpeft.objectives import Objective
from nbpeft.places import Job
from nbpeft.precision import AS_LOADED
from nbpeft.seam.packing import NOT_TRAINED
from nbpeft.standing import counting
from nbpeft.stop import Stop

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.data import Rows
    from nbpeft.fitting.trace import Traced
    from nbpeft.mounts import Outputs
    from nbpeft.session.models import Handle

EVAL_BATCH = 8
"""Held-out rows that are read at once: the default of transformers."""
KEPT = 64
"""Forecasts that are remembered."""


@dataclass(frozen=True)
class Step:
    """All that a run's memory follows from."""

    handle: Handle
    state: str
    """The precision of the base that is trained on."""
    method: Method
    objective: Objective
    tokenizer: Any
    of_method: Mapping[str, Any]
    """Fields of the method's config."""
    of_trainer: Mapping[str, Any]
    """Fields of the trainer's config."""
    rows: Rows
    outputs: Outputs | None = None
    """What the head gives that is trained; None where none is."""
    extra_bytes: int = 0
    """What the survey says that the adapter takes, with the copies of base weights that it needs.
    """
    beside: int = 0
    """Bytes of the weights as loaded that stay in memory beside quantized ones."""
    lean: bool = False
    """Whether what makes the run faster for more memory is left out."""
    length: int | None = None
    """Tokens that rows are cut to, where that is less than they are."""

    @property
    def batch_size(self) -> int:
        """Rows a batch."""
        return int(self.of_trainer.get("per_device_train_batch_size", 8))

    @property
    def accumulated(self) -> int:
        """Batches a step."""
        return int(self.of_trainer.get("gradient_accumulation_steps", 1))


_known: dict[Any, Traced] = {}


def forecast(step: Step) -> Traced:
    """Bytes of the run at its peak; nothing is allocated, and nothing of the model is changed.

    A step that was traced once, over rows of these lengths, costs nothing again.

    Raises:
        Exception: whatever an operation raises that doesn't work without values.
    """
    from nbpeft.fitting.trace import MICRO_BATCHES

    micro = min(MICRO_BATCHES, step.accumulated)
    train = longest(step.rows.train, step.batch_size * micro, length=step.length)
    held_out = step.rows.held_out
    size = int(step.of_trainer.get("per_device_eval_batch_size", EVAL_BATCH))
    read = (
        [] if held_out is None else longest(held_out, min(size, len(held_out)), length=step.length)
    )
    settings = {**step.of_trainer, "max_steps": 2, "gradient_accumulation_steps": micro}
    key = _key(step, settings, train, read)
    if key not in _known:
        if len(_known) >= KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = _traced(step, settings, train, read)
    return _known[key]


def _key(step: Step, settings: Mapping[str, Any], *batches: list[dict[str, Any]]) -> str:
    shapes = [[_shape(row) for row in batch] for batch in batches]
    base = (
        step.handle.fingerprint,
        step.state,
        step.lean,
        str(next(step.handle.root.parameters()).device),
    )
    words = [sorted((k, repr(v)) for k, v in d.items()) for d in (step.of_method, settings)]
    return repr((base, step.method.name, step.objective.name, step.outputs, words, shapes))


def _shape(row: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Of each text of a row its tokens, and how many of them aren't left out of the loss."""
    return [
        (name, len(value), sum(token != NOT_TRAINED for token in value))
        for name, value in row.items()
        if isinstance(value, list)
    ]


def _traced(step: Step, settings: dict[str, Any], train: Any, read: Any) -> Traced:
    """Build the skeleton, mount on it, and run a step."""
    from datasets import Dataset
    from torch._subclasses.fake_tensor import FakeTensorMode

    from nbpeft.fitting.heap import Heap
    from nbpeft.fitting.live import Live
    from nbpeft.fitting.skeleton import as_fakes, bytes_of, skeleton
    from nbpeft.fitting.trace import trace
    from nbpeft.fitting.way import way_of
    from nbpeft.seam.probe import bound

    handle = step.handle
    device = next(handle.root.parameters()).device
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    live = Live(mode, None if device.type == "cuda" else Heap())
    way = way_of(handle, step.state, step.of_trainer.get("max_length"))
    with counting(handle, step.state), skeleton(handle.root, step.state) as root:
        base = bytes_of(root)
        mount = _mounted(step, root)
        mount.attach(root)
        with mount.as_peft(root) as model:
            own = sum(size for key, size in bytes_of(model).items() if key not in base)
            as_fakes(model, mode, device)
            live.count_all(model)
            model.__dict__["to"] = lambda *_, **__: model  # it is where it is to be
            rows = replace(step.rows, train=Dataset.from_list(2 * train),
                           held_out=Dataset.from_list(read) if read else None)  # fmt: skip
            job = Job(
                name="fit",
                model=model,
                tokenizer=step.tokenizer,
                rows=rows,
                method=step.method,
                objective=step.objective,
                settings=settings,
                folder=Path(),
                events=Events(),
                stop=Stop(),
                lean=step.lean,
                samples=False,
            )
            static = {
                "weights": sum(base.values()) + step.beside,
                "adapter": max(own, step.extra_bytes),
            }
            return trace(job, bound(way, model), static, live)


def kept_beside(handle: Handle, state: str, *, in_place: bool) -> int:
    """Bytes of the weights as loaded that stay where a quantized base is trained."""
    precision = handle.precision
    if in_place or precision.given_up or state in (AS_LOADED, precision.loaded):
        return 0
    if precision.now != AS_LOADED:
        return precision.kept
    from nbpeft.precision.layers import quantizable
    from nbpeft.precision.originals import foreseen

    with counting(handle, state):
        if foreseen(handle.root) != "here":
            return 0
        weights: list[Any] = [layer.weight for _, layer in quantizable(handle.root)]
        return sum(weight.numel() * weight.element_size() for weight in weights)


def _mounted(step: Step, root: nn.Module) -> Mount:
    """The adapter, built where nothing is allocated; how its values begin is of no matter."""
    import torch

    from nbpeft.guard import Guard

    settings = dict(step.of_method)
    if "init_lora_weights" in settings and settings["init_lora_weights"] != "mica":
        settings["init_lora_weights"] = True
    if settings.get("prompt_tuning_init") is not None:
        settings["prompt_tuning_init"] = "RANDOM"
    with torch.device("meta"), Guard(tokenizer=None):
        mount = step.method.mount(root, settings, Material())
        return with_head(step.method, mount, root, step.outputs)
