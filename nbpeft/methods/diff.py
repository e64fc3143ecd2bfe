"""Diff pruning: a sparse difference to the base's weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nbpeft.errors import RequestError
from nbpeft.methods import NOTHING, Material, Method, methods
from nbpeft.methods.selective import layers_of
from nbpeft.mounts import Mount, Survey

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from nbpeft.mounts.diffs import Diff, DiffLayer, DiffMount
    from nbpeft.mounts.sparse import SparseMount


@dataclass(frozen=True)
class DiffConfig:
    """How the difference becomes sparse."""

    variant: Literal["l0", "top-k"] = field(
        default="l0",
        metadata={"help": "l0 learns by a penalty which weights differ; top-k takes the largest"},
    )
    keep: float = field(
        default=0.005, metadata={"help": "share of the layers' weights that differ in the end"}
    )
    l0_weight: float = field(
        default=1.25e-7, metadata={"help": "of the expected number of differing weights"}
    )
    alpha_init: float = field(
        default=5.0, metadata={"help": "where the gates begin: 5 is open with probability 0.99"}
    )
    fix_after: float = field(
        default=0.7,
        metadata={"help": "share of the run after which it is fixed which weights differ"},
    )
    fix_at: int | None = field(default=None, metadata={"help": "that step; fix_after by default"})


@dataclass(frozen=True, kw_only=True)
class DiffPruning(Method):
    """A difference with an L0 penalty, or the largest values of a dense one."""

    saves_all: bool = False

    def config_class(self) -> type[Any]:
        """How the difference becomes sparse."""
        return DiffConfig

    def survey(self, root: nn.Module, settings: Mapping[str, Any]) -> Survey:
        """Count differences and gates over the parameters of the layers."""
        config = _checked(settings)
        layers = [root.get_submodule(path) for path in _paths(root)]
        own = [p for layer in layers for p in layer.parameters(recurse=False)]
        times = 2 if config.variant == "l0" else 1
        return Survey(
            trainable_parameters=times * sum(p.numel() for p in own),
            extra_bytes=times * sum(p.numel() * p.element_size() for p in own),
            targets=tuple(_paths(root)),
        )

    def scheduled(self, settings: dict[str, Any], steps: int) -> dict[str, Any]:
        """The mask is fixed after a share of the steps."""
        if settings.get("fix_at") is not None:
            return settings
        return {**settings, "fix_at": round(_checked(settings).fix_after * steps)}

    def mount(
        self, root: nn.Module, settings: Mapping[str, Any], material: Material = NOTHING
    ) -> DiffMount:
        """Differences of zero."""
        from nbpeft.mounts import diffs

        config = _checked(settings)
        alpha = config.alpha_init if config.variant == "l0" else None
        kept = {"method": self.name, **dataclasses.asdict(config)}
        return diffs.build(root, _paths(root), alpha, kept)

    def load(self, root: nn.Module, folder: Path) -> SparseMount:
        """What was kept."""
        from nbpeft.mounts import sparse

        return sparse.load(root, folder)

    def go_on(self, root: nn.Module, folder: Path) -> DiffMount:
        """The differences that were kept, and no others, are trained on."""
        from nbpeft.mounts import diffs

        kept = self.load(root, folder)
        mount = diffs.build(root, _paths(root), None, kept.config)
        mount.fix_to(kept.differences)
        return mount

    def rescheduled(self, model: nn.Module, before: int, steps: int) -> None:
        """The mask is fixed after the same share of the steps."""
        configs: dict[int, Any] = {id(layer.config): layer.config for layer in _layers(model)}
        for config in configs.values():
            if config["fix_at"] is not None:
                config["fix_at"] = round(config["fix_at"] * steps / before)

    def before_step(self, model: nn.Module, step: int) -> None:
        """When it is time, fix which weights differ."""
        from nbpeft.mounts.diffs import fix_masks

        layers = _layers(model)
        fix_at = layers[0].config["fix_at"]
        diffs = _diffs(layers)
        if fix_at is not None and step > fix_at and not diffs[0].fixed:
            fix_masks(diffs, layers[0].config["keep"])

    def penalty(self, model: nn.Module) -> torch.Tensor | None:
        """The expected number of differing weights, weighted."""
        layers = _layers(model)
        diffs = _diffs(layers)
        if diffs[0].fixed or diffs[0].alpha is None:
            return None
        total: torch.Tensor = layers[0].config["l0_weight"] * sum(d.expected() for d in diffs)
        return total

    def finish(self, mount: Mount, root: nn.Module) -> Mount:
        """The weights that differ, and no others."""
        from nbpeft.mounts.diffs import DiffMount, fix_masks

        if not isinstance(mount, DiffMount):
            return mount
        if not mount.diffs[0].fixed:
            fix_masks(mount.diffs, mount.config["keep"])
        return mount.kept(root)

    def training_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The masks, once they are fixed."""
        return {
            f"mask {i}": diff.mask for i, diff in enumerate(_diffs(_layers(model))) if diff.fixed
        }

    def load_training_state(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """The masks again."""
        for i, diff in enumerate(_diffs(_layers(model))):
            if f"mask {i}" in state:
                diff.fix(state[f"mask {i}"].to(diff.w.device))


def _checked(settings: Mapping[str, Any]) -> DiffConfig:
    config = DiffConfig(**settings)
    for word in ("keep", "fix_after"):
        share = getattr(config, word)
        if not 0 < share <= 1:
            raise RequestError(f"{word} must be a share above 0 and up to 1, not {share}.")
    return config


def _paths(root: nn.Module) -> list[str]:
    """The layers that get a difference: all with parameters in the transformer's blocks.

    Embeddings and the head that writes, which are mostly one weight, stay as they are.
    """
    path, _ = layers_of(root)
    tops = [path]
    if root.config.is_encoder_decoder:  # type: ignore[union-attr]
        tops.append(path.replace("decoder", "encoder"))
    return [
        name
        for name, module in root.named_modules()
        if name.startswith(tuple(f"{top}." for top in tops))
        and any(True for _ in module.parameters(recurse=False))
    ]


def _layers(model: nn.Module) -> list[DiffLayer]:
    from nbpeft.mounts.diffs import DiffLayer

    return [module for module in model.modules() if isinstance(module, DiffLayer)]


def _diffs(layers: list[DiffLayer]) -> list[Diff]:
    return [diff for layer in layers for diff in layer.diffs.values()]  # type: ignore[misc]


methods.add(
    DiffPruning(
        name="diff",
        family="selective",
        summary="a sparse difference to the weights (diff pruning)",
        paper="Guo et al. 2020, arXiv:2012.07463",
        learning_rate=1e-3,
        trains_on=frozenset(),
    )
)
