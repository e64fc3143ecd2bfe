"""What nbpeft sets itself, by the model and its device: below what methods and users say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbpeft.architectures import window_of
from nbpeft.coerce import coerce
from nbpeft.config import settings as configured
from nbpeft.errors import RequestError
from nbpeft.places.budget import UNKNOWN, seconds_of
from nbpeft.request import Request
from nbpeft.settings import Layer

if TYPE_CHECKING:
    from torch import nn


DEFAULT_MAX_LENGTH = 1024


def own(root: nn.Module, request: Request) -> Layer:
    """What nbpeft sets by the model and its device, below the method's own defaults."""
    import torch

    parameter = next(root.parameters())
    cuda = parameter.device.type == "cuda"
    bf16 = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    return Layer(
        f"nbpeft, for {parameter.device.type}",
        {
            "bf16": bf16,
            "fp16": cuda and not bf16,
            # Trades a fifth of the speed for memory that a LoRA mostly has; TRL turns it on.
            "gradient_checkpointing": False,
            "max_length": default_max_length(root),
            **_limit(request),
        },
    )


def _limit(request: Request) -> dict[str, int]:
    """As many steps as the time allows, where nothing else limits a run with a budget."""
    if request.budget is None:
        return {}
    seconds_of(request.budget)
    given = request.given().keys() | configured().defaults.keys()
    return {} if given & LIMITS else {"max_steps": UNKNOWN}


LIMITS = {"epochs", "num_train_epochs", "max_steps"}


def default_max_length(root: nn.Module | None) -> int:
    """Tokens a row where nothing else is said: what the model can read, or DEFAULT_MAX_LENGTH."""
    window = None if root is None else window_of(root)
    return min(DEFAULT_MAX_LENGTH, window or DEFAULT_MAX_LENGTH)


def row_length(given: Any, reader: nn.Module | None) -> int:
    """Tokens a row as a run would cut it: as given, by `%config`, or by the model."""
    wanted = configured().defaults.get("max_length") if given is None else given
    if wanted is None:
        return default_max_length(reader)
    length: int = coerce("max_length", wanted, int)
    if length <= 0:
        raise RequestError(f"max_length must be above 0, not {length}.")
    return length
