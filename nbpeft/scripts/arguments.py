"""The settings of a script's trainer, and what of a run they can't say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbpeft.places.budget import UNKNOWN
from nbpeft.places.fast import WORTH_ROUNDING
from nbpeft.scripts.objectives import Learned
from nbpeft.scripts.samples import Way

if TYPE_CHECKING:
    from nbpeft.prepare import Prepared


def arguments_of(ready: Prepared, learned: Learned, way: Way) -> dict[str, Any]:
    """The trainer's settings that aren't its defaults."""
    kind = ready.objective.config_class()
    fields = {field.name: field for field in dataclasses.fields(kind)}
    given = dict(ready.settings.trainer) | {
        "output_dir": ready.request.name,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": next(ready.handle.root.parameters()).device.type == "cpu",
    }
    given |= _evaluated(ready)
    for name in LEFT_OUT:
        given.pop(name, None)
    if learned.config == "TrainingArguments":  # it knows no length of rows
        given.pop("max_length", None)
    given |= way.words
    if given.get("max_steps") == UNKNOWN:  # as many as the budget allows
        given.pop("max_steps")
    return {
        name: value
        for name, value in sorted(given.items(), key=lambda item: _place(item[0]))
        if name in fields and value != _default(fields[name])
    }


LEFT_OUT = ("dataset_kwargs", "remove_unused_columns")
"""What nbpeft sets for rows that it has tokenized itself."""
FIRST = ("output_dir", "seed", "num_train_epochs", "max_steps", "per_device_train_batch_size")


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _evaluated(ready: Prepared) -> Mapping[str, Any]:
    if ready.rows.held_out is None:
        return {}
    return {"eval_on_start": True, "eval_strategy": "epoch"}


def notes(ready: Prepared) -> tuple[str, ...]:
    """What nbpeft does beside, in plain lines."""
    root: Any = ready.handle.root
    large = ready.handle.total_parameters >= WORTH_ROUNDING and root.dtype == _float32()
    told = {
        "the budget is nbpeft's own: the script goes on for as long as its epochs say": bool(
            ready.request.budget
        ),
        "resuming is nbpeft's own: the script trains from the beginning": ready.resumed is not None,
        "dropout draws other numbers where nbpeft packs rows: losses are alike, not the same": any(
            value for name, value in ready.settings.method.items() if "dropout" in name
        ),
        "nbpeft multiplies by frozen weights in bfloat16 where that is faster: losses are the same "
        "but for that rounding": large,
    }
    return tuple(line for line, so in told.items() if so)


def _float32() -> Any:
    """The precision whose products are rounded."""
    import torch

    return torch.float32
