"""Low-rank adaptation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError
from nbpeft.methods import Material, methods
from nbpeft.methods._peft import RESERVED as COMMON
from nbpeft.methods._peft import Maker, PeftMethod
from nbpeft.mounts import Survey

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from peft import LoraConfig, PeftModel
    from torch import nn

REWRITING_INITS = ("pissa", "olora", "loftq")
"""Initialisations that subtract the adapter's start from the base weight (PEFT's names). They are
computed from the base alone, so loading computes the same again: the saved A and B are right over
the untouched base, to the bit on one machine. KaSA cuts the smallest singular values off the base
in the same way."""

UNREPEATABLE = {
    "pissa_niter_": "begins from random projections, which loading can't draw again; type pissa",
    "corda": "begins from statistics of activations that loading does not have; type eva or pissa",
}
"""Initialisations that write something else into the base than what can be computed from it."""

RESERVED = COMMON | {
    "layer_replication",
    "megatron_config",
    "megatron_core",
    "runtime_config",
    "alora_invocation_tokens",
    "arrow_config",
    "lora_ga_config",
    "corda_config",
}
"""Beside what nbpeft sets: layer_replication, which changes how many layers the model has, and no
swap undoes that; Megatron's parallel layers; what a config does not save; aLoRA, which
looks for its tokens in the forward of PEFT's wrapper, which the user's variable is not; Arrow,
which routes among other adapters of one PeftModel; starts that loading can't make again."""


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
        if settings.get("trainable_token_indices") and root.config.tie_word_embeddings:  # type: ignore[union-attr]
            raise RequestError(
                "trainable_token_indices can't be trained in a model whose embeddings are also its "
                "output weights, which the loss reads directly; name embed_tokens in "
                "modules_to_save of a model that does not tie them, or leave it out."
            )
        return settings

    def check_base(self, settings: Mapping[str, Any], state: str) -> None:
        """Starts that rewrite the base's weights need them whole; int8 layers know plain LoRA."""
        super().check_base(settings, state)
        init = str(settings.get("init_lora_weights", "")).lower()
        if init.startswith(REWRITING_INITS) or settings.get("kasa_config"):
            start = init if init.startswith(REWRITING_INITS) else "kasa_config"
            raise RequestError(
                f"{start} rewrites the base's weights, and those of a base in {state} can't be; "
                "leave it out, or leave --quantize out."
            )
        if state == "int8" and settings.get("use_dora"):
            raise RequestError(
                "use_dora reads the base's weights, which PEFT can't on int8; type "
                "--quantize nf4, or leave use_dora out."
            )

    def _fresh(self, config: LoraConfig, root: nn.Module, material: Material) -> Maker:
        from nbpeft.tuners.fused import unmarked

        make = super()._fresh(config, root, material)
        if config.init_lora_weights != "eva":
            return lambda model: unmarked(make(model))
        if material.rows is None:
            raise RequestError(
                "init_lora_weights eva begins from the rows to train on, and an adapter set up by "
                "hand has none; train it with %%finetune, or type another init_lora_weights."
            )
        from nbpeft.methods._eva import batches, explained

        eva: Any = config.eva_config
        data = batches(material.rows, config.r * eva.rho)

        def explaining(model: nn.Module) -> PeftModel:
            return explained(unmarked(make(model)), data)

        return explaining

    def _stored(self, folder: Path) -> Maker:
        from nbpeft.tuners.fused import unmarked

        make = super()._stored(folder)
        return lambda model: unmarked(make(model))

    def penalty(self, model: nn.Module) -> torch.Tensor | None:
        """MonteCLoRA's variational loss, which PEFT leaves to the training loop."""
        from peft import LoraModel

        tuner: Any = next(module for module in model.modules() if isinstance(module, LoraModel))
        if tuner.peft_config["default"].monteclora_config is None:
            return None
        loss: torch.Tensor = tuner._get_monteclora_loss()  # noqa: SLF001  as PEFT's docs have it
        return loss


def rewrites(config: LoraConfig, found: Survey) -> Callable[[str, nn.Parameter], bool] | None:
    """Which base parameters this LoRA writes into: some inits the weights, `bias` the biases."""
    init = config.init_lora_weights
    weights = isinstance(init, str) and init.startswith(REWRITING_INITS)
    weights |= vars(config).get("kasa_config") is not None  # none yet in PEFT 0.20
    if not weights and config.bias == "none":
        return None
    targets = frozenset(found.targets)

    def rewritten(name: str, _parameter: nn.Parameter) -> bool:
        owner, _, kind = name.rpartition(".")
        if kind == "bias":
            return config.bias == "all" or (config.bias == "lora_only" and owner in targets)
        return weights and owner in targets

    return rewritten


LORA = methods.add(
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
