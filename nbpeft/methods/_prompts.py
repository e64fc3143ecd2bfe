"""The family of methods that train vectors before the input: soft prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError
from nbpeft.methods import NOTHING, Material
from nbpeft.methods._peft import PeftMethod
from nbpeft.mounts import Mount, Survey

if TYPE_CHECKING:
    from pathlib import Path

    from peft import PeftConfig
    from torch import nn

    from nbpeft.mounts.prompts import PromptMount


@dataclass(frozen=True, kw_only=True)
class SoftPromptMethod(PeftMethod):
    """A method whose config is one of PEFT's for prompts."""

    saves_all: bool = False
    """The encoder that makes a prompt while it is trained isn't saved."""

    def survey(self, root: nn.Module, settings: Mapping[str, Any]) -> Survey:
        """Wrap on the meta device and count."""
        from nbpeft.mounts import prompts

        try:
            return prompts.survey(root, self._config(root, settings))
        except (ValueError, TypeError) as error:
            raise RequestError(f"{self.name}: {error}") from error

    def mount(
        self, root: nn.Module, settings: Mapping[str, Any], material: Material = NOTHING
    ) -> PromptMount:
        """Wrap, keep the shell."""
        from nbpeft.mounts import prompts

        return prompts.build(root, prompts.fresh(self._config(root, settings)))

    def load(self, root: nn.Module, folder: Path) -> PromptMount:
        """The prompt as it stands in the folder."""
        from nbpeft.mounts import prompts

        return prompts.build(root, prompts.stored(folder))

    def finish(self, mount: Mount, root: nn.Module) -> Mount:
        """The prompt by itself, as the shelf keeps it."""
        from nbpeft.mounts import prompts

        assert isinstance(mount, prompts.PromptMount)
        return prompts.without_encoder(mount, root)

    def _config(self, root: nn.Module, settings: Mapping[str, Any]) -> PeftConfig:
        config = super()._config(root, settings)
        length = config.num_virtual_tokens  # type: ignore[attr-defined]
        if not length or length < 1:
            raise RequestError(f"num_virtual_tokens must be at least 1, not {length}.")
        return config
