"""Low-rank adaptation that spends a budget of ranks where they matter."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError
from nbpeft.methods import Material, methods
from nbpeft.methods._peft import Maker, PeftMethod
from nbpeft.methods.lora import RESERVED, rewrites

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import nn

    from nbpeft.mounts import Mount

WARMUP, TUNING = 1 / 8, 1 / 2
"""Shares of a run before the ranks begin to shrink, and after they have: about those of the paper's
runs on GLUE, in its appendix on hyperparameters."""
ALLOCATIONS = 240
"""How often ranks are chosen anew at most; the paper's runs come to a few hundred."""
INITIAL = 1.5
"""The budget of ranks at the beginning, in final ones (section 4.1)."""
UNPLANNED = 10**9
"""Steps of an adapter set up by hand: its ranks stay as they begin."""
SCHEDULE = ("tinit", "tfinal", "deltaT")


class AdaLora(PeftMethod):
    """PEFT's AdaLoRA, with what PEFT leaves to the training loop."""

    def scheduled(self, settings: dict[str, Any], steps: int) -> dict[str, Any]:
        """When the ranks shrink in a run of `steps` steps; what the user gave stays.

        Raises RequestError where no step is left in which they could.
        """
        settings = dict(settings)
        if settings.get("total_step", steps) != steps:  # of the run that this one goes on from
            settings = {k: v for k, v in settings.items() if k not in SCHEDULE}
        tinit = settings.setdefault("tinit", int(steps * WARMUP))
        tfinal = settings.setdefault("tfinal", max(0, min(int(steps * TUNING), steps - 2)))
        span = steps - tinit - tfinal
        # Ranks are dropped by what the gradients of an earlier step said.
        if min(tinit, tfinal) < 0 or span < 1 or steps - tfinal < 2:
            raise RequestError(
                f"adalora shrinks ranks from step tinit ({tinit}) to tfinal ({tfinal}) steps "
                f"before the end, and this run has {steps}: too few are left in between; give "
                "smaller tinit and tfinal, or more --epochs or --max-steps."
            )
        settings.setdefault("deltaT", max(1, span // ALLOCATIONS))
        return settings | {"total_step": steps}

    def _complete(self, root: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
        last = settings.get("target_r", 8)
        first = settings.get("init_r") or math.ceil(INITIAL * last)
        if not first > last > 0:
            raise RequestError(
                f"adalora begins with init_r {first} and shrinks to target_r {last} on average: "
                "init_r must be the larger, and both above 0; give init_r: 12 and target_r: 8, say."
            )
        if settings.get("init_lora_weights", True) not in (True, False):
            raise RequestError(
                "adalora's factors are those of an SVD and begin at random: it has no "
                f"init_lora_weights {settings['init_lora_weights']}; leave it out, or choose "
                "--method lora."
            )
        settings = settings | {"init_r": first}
        if "total_step" in settings:
            return settings
        return settings | {"total_step": UNPLANNED, "tinit": UNPLANNED - 1, "tfinal": 0}

    def _fresh(self, config: Any, root: nn.Module, material: Material) -> Maker:
        make = super()._fresh(config, root, material)
        return lambda model: _without_penalty(make(model))

    def _stored(self, folder: Path) -> Maker:
        make = super()._stored(folder)
        return lambda model: _ranks_settled(_without_penalty(make(model)))

    def penalty(self, model: nn.Module) -> torch.Tensor | None:
        """How far the factors are from orthogonal: the mean of ||PᵀP - I|| over all, weighted."""
        import torch

        config = _tuner(model).peft_config["default"]
        if config.orth_reg_weight == 0:
            return None
        distances = []
        for layer in _layers(model):
            for factor in (layer.lora_A["default"], layer.lora_B["default"].T):
                gram = factor @ factor.T
                identity = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
                distances.append(torch.linalg.matrix_norm(gram - identity))
        return config.orth_reg_weight * torch.stack(distances).mean()

    def rescheduled(self, model: nn.Module, before: int, steps: int) -> None:
        """The ranks shrink at the same shares of the run."""
        config = _tuner(model).peft_config["default"]
        config.tinit = int(steps * config.tinit / before)
        config.tfinal = max(0, min(int(steps * config.tfinal / before), steps - config.tinit - 1))
        config.deltaT = max(1, (steps - config.tinit - config.tfinal) // ALLOCATIONS)
        config.total_step = steps

    def after_step(self, model: nn.Module, step: int) -> None:
        """Weigh the ranks by the gradients, and drop what is over the step's budget."""
        import torch

        tuner = _tuner(model)
        if _is_settled(tuner):
            return
        for parameter in (p for p in tuner.parameters() if p.requires_grad and p.grad is None):
            parameter.grad = torch.zeros_like(parameter)  # no part in the loss: BERT's pooler
        tuner.update_and_allocate(step)

    def finish(self, mount: Mount, root: nn.Module) -> Mount:
        """The adapter as it is saved: without the ranks that were dropped."""
        with tempfile.TemporaryDirectory(prefix="nbpeft-") as folder:
            mount.save(root, Path(folder))
            mount.take_out(root)
            try:
                return self.load(root, Path(folder))
            finally:
                mount.put_in(root)

    def training_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The smoothed importances of all weights, and the ranks chosen last."""
        import torch

        tuner = _tuner(model)
        allocator = tuner.rankallocator
        state = {
            f"{kind}.{name}": tensor
            for kind in ("exp_avg_ipt", "exp_avg_unc")
            for name, tensor in getattr(allocator, kind).items()
        }
        pattern = tuner.peft_config["default"].rank_pattern or {}
        return state | {f"rank_pattern.{n}": torch.tensor(kept) for n, kept in pattern.items()}

    def load_training_state(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Go on as if the run had never been stopped."""
        import torch

        tuner = _tuner(model)
        allocator = tuner.rankallocator
        at = {name: p.device for name, p in tuner.model.named_parameters()}
        allocator.reset_ipt()
        pattern = {}
        for key, tensor in state.items():
            kind, _, name = key.partition(".")
            if kind == "rank_pattern":
                pattern[name] = tensor.tolist()
            else:
                getattr(allocator, kind)[name] = tensor.to(at[name])
                allocator.ipt[name] = torch.zeros_like(tensor, device=at[name])
        tuner.peft_config["default"].rank_pattern = pattern or None


def _tuner(model: nn.Module) -> Any:
    """PEFT's AdaLoraModel in what a trainer made of the model."""
    from peft import AdaLoraModel

    return next(module for module in model.modules() if isinstance(module, AdaLoraModel))


def _layers(model: nn.Module) -> list[Any]:
    from peft.tuners.adalora import AdaLoraLayer

    return [module for module in model.modules() if isinstance(module, AdaLoraLayer)]


def _without_penalty(model: PeftModel) -> PeftModel:
    """The model whose forward adds no penalty to a loss that it computes.

    Whether a trainer's loss goes through PEFT's forward differs from objective to objective;
    `AdaLora.penalty` is added to each, once.
    """
    from peft import AdaLoraModel

    class Unpenalized(AdaLoraModel):  # type: ignore[misc]
        def forward(self, *args: Any, **keywords: Any) -> Any:
            return self.model.forward(*args, **keywords)

    model.base_model.__class__ = Unpenalized
    return model


def _ranks_settled(model: PeftModel) -> PeftModel:
    """A saved adapter has lost the ranks that were dropped; those that are left stay.

    The pattern says how many of `init_r` those are, which is all that loading goes by.
    """
    from peft.tuners.adalora import AdaLoraLayer

    config = model.peft_config["default"]
    left = {
        f"{name}.lora_E": len(layer.lora_E["default"])
        for name, layer in model.base_model.model.named_modules()
        if isinstance(layer, AdaLoraLayer)
    }
    config.rank_pattern = {n: [i < k for i in range(config.init_r)] for n, k in left.items()}
    return model


def _is_settled(tuner: Any) -> bool:
    """Whether the layers have no more ranks than the pattern leaves."""
    pattern = tuner.peft_config["default"].rank_pattern
    there = sum(len(layer.lora_E["default"]) for layer in _layers(tuner))
    return pattern is not None and sum(map(sum, pattern.values())) == there


# `r` is init_r here; the run and the allocator set total_step and rank_pattern; PEFT's AdaLoRA
# refuses or passes over the rest of what LoRA's config has.
OTHERS = frozenset(
    {
        "r", "total_step", "rank_pattern", "alpha_pattern", "use_dora", "use_rslora", "use_qalora",
        "qalora_group_size", "use_bdlora", "lora_bias", "kasa_config", "velora_config",
        "monteclora_config", "eva_config", "loftq_config", "target_parameters",
        "trainable_token_indices",
    }
)  # fmt: skip

methods.add(
    AdaLora(
        name="adalora",
        family="reparametrized",
        summary="low-rank, the ranks going where they matter",
        paper="Zhang et al. 2023, arXiv:2303.10512",
        config="AdaLoraConfig",
        learning_rate=1e-3,
        aliases={
            "rank": "target_r",
            "alpha": "lora_alpha",
            "dropout": "lora_dropout",
            "target_modules": "target_modules",
        },
        defaults={"lora_alpha": 32, "target_modules": "all-linear"},
        reserved=RESERVED | OTHERS,
        rewrites=rewrites,  # type: ignore[arg-type]
        saves_all=False,
    )
)
