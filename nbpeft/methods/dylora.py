"""Low-rank adaptation from which any smaller rank can be cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, listed
from nbpeft.methods import NOTHING, Material, methods
from nbpeft.methods._peft import Maker, PeftMethod
from nbpeft.methods.lora import RESERVED, rewrites
from nbpeft.mounts import Survey

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from torch import nn

    from nbpeft.mounts.modules import ModulesMount

WEIGHTS = "adapter_model.safetensors"


class DyLora(PeftMethod):
    """PEFT's LoRA layers, of which each step trains a first part; used whole otherwise."""

    def config_class(self) -> type[Any]:
        from nbpeft.tuners.nested import DyLoraConfig

        return DyLoraConfig

    def survey(self, root: nn.Module, settings: Mapping[str, Any]) -> Survey:
        from nbpeft.tuners.structure import LINEAR

        found = super().survey(root, settings)
        others = [t for t in found.targets if not isinstance(root.get_submodule(t), LINEAR)]
        if others:
            raise RequestError(
                f"dylora works on linear layers, not on {listed(others)}; leave those out of "
                "target_modules, or choose --method lora."
            )
        return found

    def mount(
        self, root: nn.Module, settings: Mapping[str, Any], material: Material = NOTHING
    ) -> ModulesMount:
        from nbpeft.tuners.nested import NestedMount

        return NestedMount.of(super().mount(root, settings, material))

    def load(self, root: nn.Module, folder: Path, rank: int | None = None) -> ModulesMount:
        """The adapter from `folder`, whole; or, with `rank`, a plain LoRA of that rank cut out."""
        from nbpeft.tuners.nested import NestedMount

        if rank is not None:
            return self.cut(root, folder, rank)
        return NestedMount.of(super().load(root, folder))

    def _complete(self, root: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
        init = settings.get("init_lora_weights", True)
        if init not in (True, False, "gaussian"):
            raise RequestError(
                f"dylora can't begin from init_lora_weights {init!r}, whose first rows are no "
                "start of their own; leave it out, or choose --method lora."
            )
        if settings.get("target_modules") == "all-linear":
            # PEFT's word takes in a mixture's fused experts, whose factors hold all of them.
            return settings | {"target_modules": all_linear(root)}
        return settings

    def _fresh(self, config: Any, root: nn.Module, material: Material) -> Maker:
        from nbpeft.tuners.nested import nest_all

        make = super()._fresh(config.plain(), root, material)
        return lambda model: nest_all(make(model), last_only=config.frozen)

    def _stored(self, folder: Path) -> Maker:
        from nbpeft.tuners.nested import frozen_of, nest_all

        make, frozen = super()._stored(folder), frozen_of(folder)
        return lambda model: nest_all(make(model), last_only=frozen)

    def before_step(self, model: nn.Module, step: int) -> None:
        """Draw how many rows and columns this step trains, the same in all layers."""
        import torch

        from nbpeft.tuners.nested import Factor

        factors = [module for module in model.modules() if isinstance(module, Factor)]
        rank = int(torch.randint(1, max(factor.rank for factor in factors) + 1, ()))
        for factor in factors:
            factor.use(rank)

    def cut(self, root: nn.Module, folder: Path, rank: int) -> ModulesMount:
        """A plain LoRA of `rank` over the bare root, from a DyLoRA adapter's folder.

        Its scaling is alpha/rank (alpha/sqrt(rank) with rsLoRA): what the first `rank` rows and
        columns were trained with. Raises RequestError for a rank that the adapter doesn't hold.
        """
        from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
        from safetensors.torch import load_file

        from nbpeft.mounts import modules

        config: LoraConfig = PeftConfig.from_pretrained(str(folder))
        if not 1 <= rank <= config.r:
            raise RequestError(
                f"rank {rank} can't be cut out of an adapter of rank {config.r}; "
                f"give --rank 1 to {config.r}."
            )
        config.r, config.inference_mode = rank, False
        config.rank_pattern = {n: min(own, rank) for n, own in (config.rank_pattern or {}).items()}
        weights = {key: _first(key, w, rank) for key, w in load_file(folder / WEIGHTS).items()}

        def make(model: nn.Module) -> PeftModel:
            wrapped = get_peft_model(model, config)
            set_peft_model_state_dict(wrapped, weights)
            return wrapped

        return modules.build(root, make, self._rewritten(root, config))


def all_linear(root: nn.Module) -> list[str] | str:
    """The linear layers but the one that writes the vocabulary."""
    from nbpeft.tuners.structure import linears, names_for

    head = root.get_output_embeddings()  # type: ignore[operator]
    return names_for(root, [p for p in linears(root) if root.get_submodule(p) is not head])


def _first(key: str, weight: torch.Tensor, rank: int) -> torch.Tensor:
    if ".lora_A." in key:
        return weight[:rank].contiguous()
    return weight[:, :rank].contiguous() if ".lora_B." in key else weight


# Left to plain LoRA: variants that scale, split or sample the factors as wholes, and weights that
# have no rank.
OTHERS = frozenset(
    {
        "use_dora", "use_qalora", "qalora_group_size", "use_bdlora", "lora_bias", "kasa_config",
        "velora_config", "monteclora_config", "eva_config", "loftq_config", "target_parameters",
        "trainable_token_indices",
    }
)  # fmt: skip

methods.add(
    DyLora(
        name="dylora",
        family="reparametrized",
        summary="low-rank, trained so that any smaller rank can be cut out",
        paper="Valipour et al. 2022, arXiv:2210.07558; all linear layers: Dettmers et al. 2023, "
        "arXiv:2305.14314",
        config="LoraConfig",
        learning_rate=4e-4,
        aliases={
            "rank": "r",
            "alpha": "lora_alpha",
            "dropout": "lora_dropout",
            "target_modules": "target_modules",
        },
        defaults={"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
        reserved=RESERVED | OTHERS,
        rewrites=rewrites,  # type: ignore[arg-type]
    )
)
