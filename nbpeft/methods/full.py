"""Full fine-tuning: every weight of a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.methods import methods
from nbpeft.methods._parameters import ParametersMethod

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FullConfig:
    """Nothing to choose."""


@dataclass(frozen=True, kw_only=True)
class Full(ParametersMethod):
    """Every parameter; the base is kept beside them."""

    def chosen(self, root: nn.Module, config: FullConfig) -> list[str]:
        """All of them."""
        return [name for name, _ in root.named_parameters()]


methods.add(
    Full(
        name="full",
        family="classic",
        summary="every weight, in a copy: the base is kept",
        # Section A.3 names 5e-5, 3e-5 and 2e-5.
        paper="Devlin et al. 2018, arXiv:1810.04805",
        config=FullConfig,
        learning_rate=2e-5,
        trains_on=frozenset(),
    )
)
