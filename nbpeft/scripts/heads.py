"""The head of a script that scores texts: one layer with a bias over the last token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.precision.base import AS_LOADED
from nbpeft.scripts.methods import Trained
from nbpeft.scripts.own import OwnError
from nbpeft.scripts.writing import names

if TYPE_CHECKING:
    from nbpeft.prepare import Prepared


@dataclass(frozen=True)
class Head:
    """What a script has of a head."""

    model: tuple[str, Mapping[str, Any]]
    """The auto class of the model, and what it is given."""
    code: str
    imports: frozenset[tuple[str, str]]


def head_of(ready: Prepared, trained: Trained) -> Head:
    """The lines that make the head.

    Raises:
        OwnError: transformers' classifier would read another place, or in another precision.
    """
    import torch

    root: Any = ready.handle.root
    assert ready.outputs is not None  # the objective trains a head
    if trained.goes_on:
        raise OwnError("going on from an adapter with a head is nbpeft's own")
    if root.dtype != torch.float32 or ready.plan.state != AS_LOADED:
        raise OwnError("a head in float32 over a base that isn't is nbpeft's own")
    pad, end = ready.tokenizer.pad_token_id, ready.tokenizer.eos_token_id
    if pad is None or pad == end:
        raise OwnError(
            "transformers finds a text's last token by the id of padding, and the tokenizer has no "
            "padding token of its own: how nbpeft finds it is its own"
        )
    count = ready.outputs.count
    lines = [
        "# nbpeft's head has a bias, and begins as the seed has it.",
        f"set_seed({ready.settings.trainer.get('seed', 42)})",
        f"model.score = torch.nn.Linear(model.config.hidden_size, {count})",
        "model.config.pad_token_id = tokenizer.pad_token_id",
    ]
    if ready.tokenizer.padding_side != "right":
        lines.append('tokenizer.padding_side = "right"')
    return Head(
        ("AutoModelForSequenceClassification", {"num_labels": count}),
        "\n".join(lines),
        names("torch") | names("transformers", "set_seed"),
    )
