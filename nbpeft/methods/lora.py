"""Low-rank adaptation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError
from nbpeft.methods import Material, methods
from nbpeft.methods._peft import RESERVED as COMMON
from nbpeft.methods._peft import Maker, PeftMethod
from nbpeft.mounts import Survey

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from torch import nn

REWRITING_INITS = ("pissa", "olora", "loftq")
"""Initialisations that subtract the adapter's start from the base weight (PEFT's names). They are
computed from the base alone, so loading computes the same again: the saved A and B are right over
the untouched base, to the bit on one machine."""

UNREPEATABLE = {
    "pissa_niter_": "begins from random projections, which loading can't draw again; type pissa",
    "corda": "begins from statistics of activations that loading does not have; type eva or pissa",
    "lora_ga": "begins from gradients that loading does not have; type eva or pissa",
}
"""Initialisations that write something else into the base than what can be computed from it."""

RESERVED = COMMON | {
    "megatron_config",
    "megatron_core",
    "runtime_config",
}
"""Beside what nbpeft sets: Megatron's parallel layers, and what a config does not save."""


class Lora(PeftMethod):
    """PEFT's LoRA, with the data that EVA begins from."""

    def _complete(self, root: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
        """Refuse the starts that would not come out the same on loading, or can't be made here."""
        import torch

        init = str(settings.get("init_lora_weights", "")).lower()
        for start, why in UNREPEATABLE.items():
            if init.startswith(start):
                raise RequestError(f"init_lora_weights {init} {why}.")
        if init == "loftq" and not torch.cuda.is_available():
            raise RequestError(
                "init_lora_weights loftq quantizes on a GPU (PEFT's loftq_init), and there is "
                "none; type pissa or olora, or leave it out."
            )
        return settings

    def _fresh(self, config: LoraConfig, root: nn.Module, material: Material) -> Maker:
        make = super()._fresh(config, root, material)
        if config.init_lora_weights != "eva":
            return make
        if material.rows is None:
            raise RequestError(
                "init_lora_weights eva begins from the rows to train on, and an adapter set up by "
                "hand has none; train it with %%finetune, or type another init_lora_weights."
            )
        from nbpeft.methods._eva import batches, explained

        data = batches(material.rows, config.r * config.eva_config.rho)

        def explaining(model: nn.Module) -> PeftModel:
            return explained(make(model), data)

        return explaining


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
    Lora(
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
        reserved=RESERVED,
        rewrites=rewrites,  # type: ignore[arg-type]
    )
)
