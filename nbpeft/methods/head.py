"""A classifier over frozen features: one layer, or a few dense ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nbpeft.errors import RequestError, listed
from nbpeft.methods import NOTHING, Material, Method, methods
from nbpeft.mounts import Survey

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from nbpeft.mounts.heads import HeadMount


@dataclass(frozen=True)
class HeadConfig:
    """How a head is built."""

    labels: int = field(
        default=2, metadata={"help": "how many labels there are; 1 is a score, no label"}
    )
    names: list[str] = field(default_factory=list, metadata={"help": "what the labels are called"})
    sizes: list[int] = field(
        default_factory=list, metadata={"help": "sizes of dense layers before the last one"}
    )
    head_dropout: float = field(default=0.0, metadata={"help": "dropout before each layer"})
    pooling: Literal["auto", "last", "first", "mean"] = field(
        default="auto",
        metadata={"help": "a row's vector: auto is a decoder's last token, an encoder's mean"},
    )


@dataclass(frozen=True, kw_only=True)
class Head(Method):
    """A head over the body's pooled features."""

    def config_class(self) -> type[Any]:
        """How a head is built."""
        return HeadConfig

    def survey(self, root: nn.Module, settings: Mapping[str, Any]) -> Survey:
        """Build the head on the meta device and count."""
        import torch

        with torch.device("meta"):
            mount = self.mount(root, settings)
        return Survey(mount.trainable_parameters, mount.extra_bytes, ("the pooled features",))

    def mount(
        self, root: nn.Module, settings: Mapping[str, Any], material: Material = NOTHING
    ) -> HeadMount:
        """A fresh head."""
        from nbpeft.mounts import heads

        config = HeadConfig(**settings)
        if config.labels < 1:
            raise RequestError(f"labels must be at least 1, not {config.labels}.")
        if config.names and len(config.names) != config.labels:
            raise RequestError(
                f"{config.labels} labels can't have the {len(config.names)} names "
                f"{listed(config.names)}; give one each."
            )
        kept = asdict(config)
        kept["dropout"] = kept.pop("head_dropout")
        kept["pooling"] = heads.pooling_of(root, config.pooling)
        return heads.build(root, {"method": self.name, **kept})

    def load(self, root: nn.Module, folder: Path) -> HeadMount:
        """The head from a folder."""
        from nbpeft.mounts import heads

        return heads.load(root, folder)


methods.add(
    Head(
        name="head",
        family="classic",
        summary="a classifier over the frozen model's features",
        paper="Devlin et al. 2018, arXiv:1810.04805 (feature-based, section 5.3)",
        learning_rate=1e-3,
        needs=frozenset({"pooled features"}),
    )
)
methods.add(
    Head(
        name="head-dense",
        family="classic",
        summary="some dense layers over the frozen model's features",
        paper="Sharif Razavian et al. 2014, arXiv:1403.6382",
        learning_rate=1e-3,
        defaults={"sizes": [256], "head_dropout": 0.1},
        needs=frozenset({"pooled features"}),
    )
)
