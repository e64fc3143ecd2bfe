"""The two factors of a LoRA of which, while training, only the first rows or columns are used.

DyLoRA (Valipour et al. 2022, arXiv:2210.07558, section 3): at rank b a layer gives
W x + alpha/b B[:, :b] A[:b] x, so that every first part of the factors is an adapter of its own.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn import functional

from nbpeft.mounts import Mount
from nbpeft.mounts.modules import ModulesMount

MARK = "dylora.json"
"""Written beside the adapter, which is a plain LoRA: how it was trained."""


@dataclass
class DyLoraConfig(LoraConfig):  # type: ignore[misc]
    """LoRA's fields and DyLoRA's own."""

    frozen: bool = field(
        default=False,
        metadata={
            "help": "train only the last row and column of the rank that a step draws, and leave "
            "those before it as they are"
        },
    )

    def plain(self) -> LoraConfig:
        """The LoRA that it is saved as."""
        own = [f.name for f in dataclasses.fields(LoraConfig) if f.init]
        return LoraConfig(**{name: getattr(self, name) for name in own})


class Factor(nn.Linear):
    """A LoRA's A or B as PEFT builds it (a linear without bias), and saved as such."""

    rank: int
    """Of the whole factor."""
    used: int
    """Rows or columns in use while training."""
    last_only: bool = False
    """Whether the gradient goes to the last of them alone (the paper's 'frozen' variant)."""

    @classmethod
    def of(cls, factor: nn.Linear, rank: int, *, last_only: bool) -> Self:
        """The same parameter, in a factor of which less may be used."""
        new = cls(1, 1, bias=False, device="meta")
        new.weight = factor.weight
        new.in_features, new.out_features = factor.in_features, factor.out_features
        new.rank = new.used = rank
        new.last_only = last_only
        return new

    def use(self, rank: int) -> None:
        """Use so many rows or columns from now on, while training."""
        self.used = min(rank, self.rank)

    def _part(self, weight: torch.Tensor) -> torch.Tensor:
        """The rows in use, (used, …)."""
        part = weight[: self.used]
        return torch.cat([part[:-1].detach(), part[-1:]]) if self.last_only else part


class Down(Factor):
    """A: (…, in) -> (…, used)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        return functional.linear(x, self._part(self.weight))


class Up(Factor):
    """B: (…, used) -> (…, out), times r/b: PEFT's layer scales by alpha/r behind it."""

    root_scaled: bool = False
    """Whether the layer scales by alpha/√r (rsLoRA)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        factor = (self.rank / self.used) ** (0.5 if self.root_scaled else 1.0)
        return functional.linear(x, self._part(self.weight.T).T) * factor


def nest_all(model: PeftModel, *, last_only: bool) -> PeftModel:
    """Make the factors of PEFT's LoRA layers nested ones; their parameters stay the same."""
    root_scaled = model.peft_config["default"].use_rslora
    for layer in [module for module in model.modules() if isinstance(module, LoraLayer)]:
        for name, rank in layer.r.items():
            layer.lora_A[name] = Down.of(layer.lora_A[name], rank, last_only=last_only)
            layer.lora_B[name] = Up.of(layer.lora_B[name], rank, last_only=last_only)
            layer.lora_B[name].root_scaled = root_scaled
    return model


@dataclass(eq=False)
class NestedMount(ModulesMount):
    """A mount whose folder also says how it was trained; see `nbpeft.mounts.Mount`."""

    @classmethod
    def of(cls, mount: Mount) -> Self:
        """The same mount, which is one of modules."""
        assert isinstance(mount, ModulesMount)
        return cls(mount.swaps, mount.shell, mount.own, mount.tuned)

    def save(self, root: nn.Module, folder: Path) -> None:
        """A plain LoRA, and `dylora.json`."""
        super().save(root, folder)
        inside = (module for swap in self.swaps for module in swap.adapter.modules())
        frozen = next(module.last_only for module in inside if isinstance(module, Factor))
        (folder / MARK).write_text(json.dumps({"frozen": frozen}))


def frozen_of(folder: Path) -> bool:
    """Whether the adapter in a folder is trained the 'frozen' way."""
    return bool(json.loads((folder / MARK).read_text())["frozen"])
