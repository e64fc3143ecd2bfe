"""Adapters built over a base once, then attached and detached by swapping pointers.

`modules`: adapter layers in place of base modules (LoRA, IA3, …; most of PEFT's tuners).
`parameters`: tuned values in place of base parameters (full and selective tuning).
`prompts`: a wrapper that puts a soft prompt before the input.
`heads`: scores or labels from the body's features; `headed`: an adapter with a head beside it.
`adopted`: adapters that the user made with PEFT. `together` asks several LoRAs in one batch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


@dataclass(frozen=True)
class Survey:
    """What a method would come to on a model, nothing allocated."""

    trainable_parameters: int
    extra_bytes: int
    targets: tuple[str, ...]
    """The places in the module tree that get an adapter."""


@dataclass(frozen=True)
class Outputs:
    """What a head gives for a text."""

    count: int
    names: tuple[str, ...] = ()
    """Of labels; none where it gives a score."""


class Mount(Protocol):
    """One adapter over one base. Holds submodules, never the root: a dropped model is freed."""

    state: str
    """The precision of the base that it was built over, and stands on."""

    @property
    def rebinds(self) -> bool:
        """Whether the user's names of the model must hold `model(root)` while it is attached."""

    @property
    def trainable_parameters(self) -> int:
        """How many values are trained."""

    @property
    def extra_bytes(self) -> int:
        """Adapter weights and the copies of base weights that it needs."""

    def attach(self, root: nn.Module) -> None:
        """Put the adapter in; the root's trainable parameters are exactly the adapter's then."""

    def detach(self, root: nn.Module) -> None:
        """Take it out; modules, parameters and flags are as before `attach`, bit for bit."""

    def put_in(self, root: nn.Module) -> None:
        """Pointers only, for a forward: flags stay as they are."""

    def take_out(self, root: nn.Module) -> None:
        """Pointers back; undoes `put_in`."""

    def model(self, root: nn.Module) -> nn.Module:
        """What answers as this adapter while it is put in: the root, or what is around it."""

    def as_peft(self, root: nn.Module) -> AbstractContextManager[nn.Module]:
        """The model to train, bound to the root while inside."""

    def save(self, root: nn.Module, folder: Path) -> None:
        """Write safetensors and a config; put in first.

        What PEFT can hold in its format, `PeftModel.from_pretrained` loads.
        """
