"""The family of methods that PEFT builds as layers in place of base modules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from nbpeft.architectures import task_of
from nbpeft.errors import RequestError, did_you_mean, listed, quoted
from nbpeft.methods import NOTHING, Material, Method
from nbpeft.mounts import Mount, Survey
from nbpeft.quiet import import_peft

if TYPE_CHECKING:
    from pathlib import Path

    from peft import PeftConfig, PeftModel
    from torch import nn

RESERVED = frozenset(
    {
        "peft_type",
        "task_type",
        "inference_mode",
        "auto_mapping",
        "peft_version",
        "revision",
        "base_model_name_or_path",
    }
)
"""Set by nbpeft."""


NAMING = frozenset(
    {
        "target_modules", "exclude_modules", "modules_to_save", "attention_modules",
        "feedforward_modules", "norm_modules",
    }
)  # fmt: skip
"""Fields that name modules of the model: a list of names, or a regular expression."""


Maker: TypeAlias = "Callable[[nn.Module], PeftModel]"
"""Injects an adapter into a model; see `nbpeft.mounts.modules.build`."""


@dataclass(frozen=True, kw_only=True)
class PeftMethod(Method):
    """A method whose config is one of PEFT's."""

    config: str
    """The name of PEFT's config class."""
    reserved: frozenset[str] = RESERVED
    rewrites: Callable[[PeftConfig, Survey], Callable[[str, nn.Parameter], bool] | None] | None = (
        None
    )
    """Which base parameters a config writes into; those get copies of their own."""

    def config_class(self) -> type[Any]:
        """PEFT's config class."""
        kind: type[Any] = getattr(import_peft(), self.config)
        return kind

    def survey(self, root: nn.Module, settings: Mapping[str, Any]) -> Survey:
        """Inject on the meta device, count, and take it out again."""
        from nbpeft.mounts import modules

        config = self._config(root, settings)
        _check_names(config, root)
        try:
            found = modules.survey(root, self._plain_init(config))
        except (ValueError, TypeError) as error:
            raise RequestError(_reason(error, config, root)) from error
        rewritten = self.rewrites(config, found) if self.rewrites else None
        if rewritten is None:
            return found
        copied = sum(
            p.numel() * p.element_size() for n, p in root.named_parameters() if rewritten(n, p)
        )
        return Survey(found.trainable_parameters, found.extra_bytes + copied, found.targets)

    def mount(
        self, root: nn.Module, settings: Mapping[str, Any], material: Material = NOTHING
    ) -> Mount:
        """Inject, note the pointers, take it out again."""
        from nbpeft.mounts import modules

        config = self._config(root, settings)
        make = self._fresh(config, root, material)
        return modules.build(root, make, self._rewritten(root, config))

    def load(self, root: nn.Module, folder: Path) -> Mount:
        """Like `mount`, with the weights from `folder`."""
        from peft import PeftConfig

        from nbpeft.mounts import modules

        config = PeftConfig.from_pretrained(str(folder))
        return modules.build(root, self._stored(folder), self._rewritten(root, config))

    def peft_config(self, root: nn.Module, settings: Mapping[str, Any]) -> PeftConfig:
        """PEFT's config of a new adapter, with what the model decides."""
        return self._config(root, settings)

    def _fresh(self, config: PeftConfig, root: nn.Module, material: Material) -> Maker:
        """How a new adapter is injected; errors for what is missing are raised here."""
        from nbpeft.mounts import modules

        return modules.fresh(config)

    def _stored(self, folder: Path) -> Maker:
        """How an adapter from a folder is injected."""
        from nbpeft.mounts import modules

        return modules.stored(folder)

    def _complete(self, root: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with what the model decides: places that its architecture has."""
        return settings

    def _config(self, root: nn.Module, settings: Mapping[str, Any]) -> PeftConfig:
        # A lone name is a list of one; PEFT would match it against whole paths, as a pattern.
        settings = {
            word: [value] if word in NAMING and isinstance(value, str) and value.isidentifier()
            else value
            for word, value in settings.items()
        }  # fmt: skip
        settings = self._complete(root, settings)
        try:
            config: PeftConfig = self.config_class()(task_type=task_of(root), **settings)
        except (ValueError, TypeError, ImportError) as error:
            why = " ".join(str(error).split())
            raise RequestError(f"The settings of {self.name} don't fit together: {why}") from None
        return config

    def _rewritten(
        self, root: nn.Module, config: PeftConfig
    ) -> Callable[[str, nn.Parameter], bool] | None:
        from nbpeft.mounts import modules

        if self.rewrites is None:
            return None
        return self.rewrites(config, modules.survey(root, self._plain_init(config)))

    def _plain_init(self, config: PeftConfig) -> PeftConfig:
        """The config with the cheapest initialisation: counting needs no SVD of the base."""
        import copy

        plain = copy.deepcopy(config)
        # MiCA needs none on the meta device, and trains half of the parameters.
        if plain.__dict__.get("init_lora_weights", "mica") != "mica":
            plain.init_lora_weights = True
        return plain


def _check_names(config: PeftConfig, root: nn.Module) -> None:
    """Refuse a module's name that the model doesn't have; PEFT passes over it beside a good one."""
    paths = [path for path, _ in root.named_modules()]
    for word in NAMING & config.__dict__.keys():
        given = config.__dict__[word]
        for name in () if given is None or isinstance(given, str) else sorted(given):
            if not any(path == name or path.endswith(f".{name}") for path in paths):
                raise RequestError(_no_module(word, name, root))


def _no_module(word: str, given: str, root: nn.Module) -> str:
    names = list(dict.fromkeys(name.rpartition(".")[2] for name in linear_names(root)))
    rest = "; or type all-linear" if word == "target_modules" else ""
    return (
        f"{word} {quoted(given)} matches nothing in this model.{did_you_mean(given, names)} "
        f"Its linear layers are: {listed(names)}{rest}."
    )


def _reason(error: Exception, config: PeftConfig, root: nn.Module) -> str:
    """Why PEFT could not inject, in one line that says what to type."""
    pattern = config.__dict__.get("target_modules")
    if isinstance(pattern, str) and "arget modules" in str(error):
        return _no_module("target_modules", pattern, root)
    return re.sub(r"\s+", " ", str(error))


def linear_names(root: nn.Module) -> list[str]:
    """Where the linear layers of a model lie."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    return [path for path, module in root.named_modules() if isinstance(module, nn.Linear | Conv1D)]
