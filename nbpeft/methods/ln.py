"""Norm layers alone, in copies: no weight of the base moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, listed
from nbpeft.methods import methods
from nbpeft.methods._peft import PeftMethod

if TYPE_CHECKING:
    from torch import nn


class LN(PeftMethod):
    """PEFT's norm tuning over the norm layers that a model has, of whatever class."""

    def _complete(self, root: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
        from nbpeft.tuners import structure

        if settings.get("target_modules") is not None:
            return settings
        found = structure.norms(root)
        if not found:
            names = structure.last_names([path for path, _ in root.named_modules() if path])
            raise RequestError(
                "ln finds no norm layers with weights in this model; name modules with "
                "target_modules: [NAME], or choose another --method. Its modules are: "
                f"{listed(names)}."
            )
        return settings | {"target_modules": structure.names_for(root, found)}


methods.add(
    LN(
        name="ln",
        family="selective",
        summary="the norm layers alone, in copies",
        paper="Zhao et al. 2023, arXiv:2312.11420",
        config="LNTuningConfig",
        learning_rate=1e-3,
        aliases={"target_modules": "target_modules"},
    )
)
