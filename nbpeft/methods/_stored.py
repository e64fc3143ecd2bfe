"""Adapters that PEFT wrote and nbpeft has no method for: loaded, used, saved; not made here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbpeft.methods import Method, methods

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from nbpeft.mounts import Mount


class Stored(Method):
    """One of PEFT's types, by its name in lower case."""

    def config_class(self) -> type[Any]:
        """PEFT's config class."""
        from peft import PeftType
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        kind: type[Any] = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(self.name.upper())]
        return kind

    def load(self, root: nn.Module, folder: Path) -> Mount:
        """Whatever PEFT makes of the folder."""
        from nbpeft.mounts import elsewhere

        return elsewhere.load(root, folder)


def entry(name: str) -> Method:
    """The method of that name, or what loads PEFT's type of that name; RequestError for neither."""
    if name in methods.names() or name not in peft_types():
        return methods.get(name)
    return Stored(
        name=name, family="adapters", summary="made with PEFT", paper="", learning_rate=0.0
    )


def name_of(config: Any) -> str:
    """What the method is called that a config of PEFT's is of, else PEFT's type in lower case."""
    own = str(config.peft_type.value).lower()
    found = [m.name for m in methods if _config_of(m) is type(config)]
    return own if own in methods.names() else (found or [own])[0]


def peft_types() -> set[str]:
    """The names of PEFT's types, in lower case."""
    from peft import PeftType

    return {kind.value.lower() for kind in PeftType}


def _config_of(method: Method) -> type[Any]:
    return method.config_class()
