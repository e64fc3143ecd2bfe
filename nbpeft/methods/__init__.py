"""What is trained: one entry a method, found by its name.

To add a method, write one file here that calls `methods.add(...)`; see CONTRIBUTING.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from nbpeft.errors import RequestError, listed
from nbpeft.mounts import Mount, Survey
from nbpeft.registry import Registry
from nbpeft.request import Quantize

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from datasets import Dataset
    from torch import nn


Family = Literal["reparametrized", "rescaling", "soft prompts", "adapters", "selective", "classic"]
"""Kinds of methods, told apart as surveys do (Lialin et al. 2023, arXiv:2303.15647)."""


@dataclass(frozen=True)
class Material:
    """What a method may look at before it mounts; nothing of it is kept."""

    tokenizer: Any = None
    rows: Dataset | None = None
    """Rows to train on, columns input_ids and labels; None for an adapter set up by hand."""


NOTHING = Material()


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to choose what is trained. Subclasses build the mount; the hooks below do nothing."""

    name: str
    family: Family
    summary: str
    paper: str
    """Authors, year and arXiv number: where the defaults come from."""
    learning_rate: float
    """Peak learning rate for SFT; an objective scales it by a factor of its own."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """nbpeft's word -> the field of the method's config."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Fields that differ from the library's defaults."""
    reserved: frozenset[str] = frozenset()
    """Fields of the config that nbpeft sets itself."""
    needs: frozenset[str] = frozenset()
    """Capability words that an objective must give."""
    quantize: Quantize | None = None
    """What the base is quantized to where nothing else is said."""
    trains_on: frozenset[str] = frozenset(get_args(Quantize))
    """The precisions of a quantized base that it can be trained on."""
    saves_all: bool = True
    """Whether training can go on from what is saved; else a stopped run builds its mount anew and
    goes on from its trainable parameters."""

    @property
    def acts_by_step(self) -> bool:
        """Whether a part of it is done around each step, which no loop of one's own does."""
        own = type(self)
        return (own.before_step, own.after_step) != (Method.before_step, Method.after_step)

    def config_class(self) -> type[Any]:
        """The dataclass whose fields may be set from a body."""
        raise NotImplementedError

    def check_base(self, settings: Mapping[str, Any], state: str) -> None:
        """Refuse a base of that precision; RequestError says what goes."""
        if state in self.trains_on:
            return
        others = [other.name for other in methods if state in other.trains_on]
        raise RequestError(
            f"{self.name} trains the base's own weights, and those of a base in {state} can't be "
            f"trained; leave --quantize out, or choose --method {listed(others, limit=4)}."
        )

    def survey(self, root: nn.Module, settings: Mapping[str, Any]) -> Survey:
        """Count what `mount` would make; errors in the settings are raised here, early."""
        raise NotImplementedError

    def scheduled(self, settings: dict[str, Any], steps: int) -> dict[str, Any]:
        """The settings of a run of so many steps, for methods that change as it goes on."""
        return settings

    def mount(
        self, root: nn.Module, settings: Mapping[str, Any], material: Material = NOTHING
    ) -> Mount:
        """Build the adapter over the bare root, from the current random state."""
        raise NotImplementedError

    def load(self, root: nn.Module, folder: Path) -> Mount:
        """Build the adapter over the bare root from what `Mount.save` wrote."""
        raise NotImplementedError

    def go_on(self, root: nn.Module, folder: Path) -> Mount:
        """Build what a run trains that goes on from an adapter in a folder (`--from`)."""
        return self.load(root, folder)

    def cut(self, root: nn.Module, folder: Path, rank: int) -> Mount:
        """Build a smaller adapter of that rank over the bare root, from what `Mount.save` wrote.

        RequestError where an adapter is one whole.
        """
        raise RequestError(
            f"A {self.name} adapter holds together at its own rank only; one that may be cut to a "
            "smaller rank is trained with --method dylora."
        )

    def penalty(self, model: nn.Module) -> torch.Tensor | None:
        """A term added to every objective's training loss (AdaLoRA, diff pruning)."""
        return None

    def rescheduled(self, model: nn.Module, before: int, steps: int) -> None:
        """Called early in a run that was to have `before` steps, and is to have `steps`."""

    def before_step(self, model: nn.Module, step: int) -> None:
        """Called before the forward passes of optimizer step `step` (from 1)."""

    def after_step(self, model: nn.Module, step: int) -> None:
        """Called when optimizer step `step` (from 1) is done, before gradients are cleared."""

    def finish(self, mount: Mount, root: nn.Module) -> Mount:
        """What is kept of a trained mount, which is attached; the same by default."""
        return mount

    def training_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """What a stopped run needs to go on, beside the trainable parameters."""
        return {}

    def load_training_state(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what `training_state` gave."""


methods: Registry[Method] = Registry("method", "nbpeft.methods")
