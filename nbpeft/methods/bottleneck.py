"""Small networks behind the sublayers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, listed
from nbpeft.methods import methods
from nbpeft.methods._peft import PeftMethod

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.mounts import Mount

WHERE = {
    "attention_modules": "where attention ends",
    "feedforward_modules": "where feed-forward ends",
    "norm_modules": "the norm layers",
}


class BottleneckMethod(PeftMethod):
    """nbpeft's own tuner; see `nbpeft.tuners.bottleneck`."""

    def config_class(self) -> type[Any]:
        from nbpeft.tuners.bottleneck import BottleneckConfig

        return BottleneckConfig

    def load(self, root: nn.Module, folder: Path) -> Mount:
        self.config_class()  # registered with PEFT from then on
        return super().load(root, folder)

    def _complete(self, root: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
        """Where the sublayers end in this model, so that the saved config says it."""
        from nbpeft.tuners import structure

        find: dict[str, Callable[[nn.Module], list[str]]] = {
            "attention_modules": structure.attention_outputs,
            "feedforward_modules": structure.feedforward_outputs,
            "norm_modules": structure.norms,
        }
        if settings.get("style") == "pfeiffer":
            del find["attention_modules"]
        if not settings.get("train_norms", True):
            del find["norm_modules"]
        for word in [word for word in find if settings.get(word) is None]:
            found = find[word](root)
            if not found:
                names = structure.last_names(structure.linears(root))
                off = " or train_norms: false" if word == "norm_modules" else ""
                raise RequestError(
                    f"bottleneck does not find {WHERE[word]} in this model; name it with "
                    f"{word}: [NAME]{off}. Its linear layers are: {listed(names)}."
                )
            settings = settings | {word: structure.names_for(root, found)}
        return settings


methods.add(
    BottleneckMethod(
        name="bottleneck",
        family="adapters",
        summary="small networks after attention and feed-forward",
        paper="Houlsby et al. 2019, arXiv:1902.00751; style pfeiffer: Pfeiffer et al. 2020, "
        "arXiv:2005.00247",
        config="BottleneckConfig",
        learning_rate=3e-4,
        aliases={"dropout": "dropout"},
    )
)
