"""The live objects of a run, and the rows that they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbpeft import data
from nbpeft.errors import DataError
from nbpeft.objectives import Objective
from nbpeft.request import Request
from nbpeft.settings import Settings

if TYPE_CHECKING:
    from nbpeft.data import Rows

PACE = {"learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size"}
"""Fields of the trainer that change how rows are gone through, and not what they are."""


@dataclass(frozen=True)
class Bindings:
    """The live objects of a run, beside the request that names them."""

    namespace: Mapping[str, Any] = field(default_factory=dict)
    """The kernel's variables."""
    model: Any = None
    tokenizer: Any = None
    data: Any = None
    """Rows that have no name: inline rows of a cell, an object given in Python."""
    eval: Any = None
    signals: Mapping[str, Any] = field(default_factory=dict)
    """Option -> what judges, given in Python as an object: a reward, a judge."""
    remembered: dict[str, Any] | None = None
    """Rows that were read and tokenized for a like request, for whoever asks again and again."""


def given(request: Request, bindings: Bindings) -> Any:
    """What the rows are: an object, or what names it. DataError where nothing is given."""
    found = bindings.data if bindings.data is not None else request.data
    if found is None:
        raise DataError(
            "There is nothing to learn from: give --data with a variable, a path, tiny:NAME or "
            "hub:owner/name, or rows under data: in the body."
        )
    return found


def rows_of(
    request: Request, bindings: Bindings, objective: Objective, tokenizer: Any, chosen: Settings
) -> Rows:
    """The rows, read and tokenized; as they were remembered where nothing of theirs has changed."""
    known = bindings.remembered
    if known is None:
        return _read(request, bindings, objective, tokenizer, chosen)
    key = _followed(request, bindings, objective, tokenizer, chosen)
    if key not in known:
        known[key] = _read(request, bindings, objective, tokenizer, chosen)
    return known[key]  # type: ignore[no-any-return]


def _read(
    request: Request, bindings: Bindings, objective: Objective, tokenizer: Any, chosen: Settings
) -> Rows:
    found = given(request, bindings)
    held_out = bindings.eval if bindings.eval is not None else request.eval
    if held_out is not None and not isinstance(held_out, int | float):
        held_out = data.read_mix(held_out, bindings.namespace)
    return objective.rows(
        data.read_mix(found, bindings.namespace),
        tokenizer,
        columns=request.columns,
        eval=held_out,
        max_length=chosen.trainer["max_length"],
        loss_on=request.loss_on,
    )


def _followed(
    request: Request, bindings: Bindings, objective: Objective, tokenizer: Any, chosen: Settings
) -> str:
    """What rows follow from: changes when one of these is given otherwise."""
    words = {"data", "eval", "columns", "loss_on", "model", "from_", *objective.takes}
    named = [bindings.namespace.get(str(name)) for name in (request.data, request.eval)]
    live = [tokenizer, bindings.model, bindings.data, bindings.eval, *named]
    trainer = {key: value for key, value in chosen.trainer.items() if key not in PACE}
    told = [sorted((word, repr(getattr(request, word))) for word in words), sorted(trainer.items())]
    return repr((objective.name, told, [id(value) for value in live]))
