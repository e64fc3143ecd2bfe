"""Low-rank adaptation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nbpeft.methods import methods
from nbpeft.methods._peft import PeftMethod
from nbpeft.mounts import Survey

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn

REWRITING_INITS = ("pissa", "olora", "loftq", "corda", "lora_ga")
"""Initialisations that subtract the adapter's start from the base weight (PEFT's names)."""


def rewrites(config: LoraConfig, found: Survey) -> Callable[[str, nn.Parameter], bool] | None:
    """Which base parameters this LoRA writes into: some inits the weights, `bias` the biases."""
    init = config.init_lora_weights
    weights = isinstance(init, str) and init.startswith(REWRITING_INITS)
    if not weights and config.bias == "none":
        return None
    targets = frozenset(found.targets)

    def rewritten(name: str, _parameter: nn.Parameter) -> bool:
        owner, _, kind = name.rpartition(".")
        if kind == "bias":
            return config.bias == "all" or (config.bias == "lora_only" and owner in targets)
        return weights and owner in targets

    return rewritten


methods.add(
    PeftMethod(
        name="lora",
        family="reparametrized",
        summary="low-rank matrices beside the linear layers",
        paper="Hu et al. 2021, arXiv:2106.09685; all linear layers: Dettmers et al. 2023, "
        "arXiv:2305.14314",
        config="LoraConfig",
        learning_rate=2e-4,
        aliases={
            "rank": "r",
            "alpha": "lora_alpha",
            "dropout": "lora_dropout",
            "target_modules": "target_modules",
        },
        defaults={"r": 16, "lora_alpha": 32, "target_modules": "all-linear"},
        rewrites=rewrites,  # type: ignore[arg-type]
    )
)
