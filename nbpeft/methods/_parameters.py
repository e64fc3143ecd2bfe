"""The family of methods that tune some, or all, of the base's own parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.methods import NOTHING, Material, Method
from nbpeft.mounts import Survey

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from nbpeft.mounts.parameters import ParametersMount


@dataclass(frozen=True, kw_only=True)
class ParametersMethod(Method):
    """A method that says by name which parameters are tuned."""

    config: type[Any]
    """A dataclass of its options, each field with `metadata["help"]`."""

    def config_class(self) -> type[Any]:
        """The method's own options."""
        return self.config

    def chosen(self, root: nn.Module, config: Any) -> list[str]:
        """The names of the parameters to tune; RequestError where there are none."""
        raise NotImplementedError

    def survey(self, root: nn.Module, settings: Mapping[str, Any]) -> Survey:
        """Count the chosen parameters."""
        from nbpeft.mounts import parameters

        return parameters.survey(root, self.chosen(root, self.config(**settings)))

    def mount(
        self, root: nn.Module, settings: Mapping[str, Any], material: Material = NOTHING
    ) -> ParametersMount:
        """Copies of the chosen parameters."""
        from nbpeft.mounts import parameters

        config = self.config(**settings)
        kept = {"method": self.name, **dataclasses.asdict(config)}
        return parameters.build(root, self.chosen(root, config), kept)

    def load(self, root: nn.Module, folder: Path) -> ParametersMount:
        """The values from a folder."""
        from nbpeft.mounts import parameters

        return parameters.load(root, folder)
