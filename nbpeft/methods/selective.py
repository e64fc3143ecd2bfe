"""Tuning a few of the model's own parameters: its biases, or its last layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbpeft.errors import RequestError
from nbpeft.methods import methods
from nbpeft.methods._parameters import ParametersMethod

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BitFitConfig:
    """Nothing to choose: every bias."""


@dataclass(frozen=True, kw_only=True)
class BitFit(ParametersMethod):
    """Every bias, of norm layers too."""

    def chosen(self, root: nn.Module, config: BitFitConfig) -> list[str]:
        """All parameters called bias."""
        names = [n for n, _ in root.named_parameters() if n.rpartition(".")[2].endswith("bias")]
        if not names:
            raise RequestError(
                f"{type(root).__name__} has no biases, so bitfit has nothing to train; type "
                "--method ln, which trains its norm layers."
            )
        return names


@dataclass(frozen=True)
class LastLayersConfig:
    """How many of the last layers."""

    layers: int | None = field(
        default=None,
        metadata={"help": "how many of the last layers are trained; by default a quarter of them"},
    )


@dataclass(frozen=True, kw_only=True)
class LastLayers(ParametersMethod):
    """The last transformer layers, and the norm after them."""

    def chosen(self, root: nn.Module, config: LastLayersConfig) -> list[str]:
        """All parameters of the last `layers`, and of the norm layers that follow them."""
        path, blocks = layers_of(root)
        count = math.ceil(len(blocks) / 4) if config.layers is None else config.layers
        if not 1 <= count <= len(blocks):
            raise RequestError(
                f"layers can't be {count}: the model has {len(blocks)}, so type 1 to {len(blocks)}."
            )
        parent = path.rpartition(".")[0]
        after = [f"{parent}.{n}".lstrip(".") for n, _ in _norms(root.get_submodule(parent))]
        wanted = [f"{path}.{i}." for i in range(len(blocks) - count, len(blocks))]
        wanted += [f"{name}." for name in after]
        return [name for name, _ in root.named_parameters() if name.startswith(tuple(wanted))]


def layers_of(root: nn.Module) -> tuple[str, nn.ModuleList]:
    """Where a model's transformer layers lie, and they; of an encoder-decoder the decoder's.

    Raises:
        RequestError: there is no list of layers.
    """
    from torch import nn

    lists = [(n, m) for n, m in root.named_modules() if isinstance(m, nn.ModuleList)]
    paths = [name for name, _ in lists]
    outer = [(n, m) for n, m in lists if not any(n.startswith(f"{other}.") for other in paths)]
    if not outer:
        raise RequestError(f"{type(root).__name__} has no list of layers to choose from.")
    return outer[-1]


def _norms(parent: nn.Module) -> list[tuple[str, nn.Module]]:
    """The norm layers beside a model's layers."""
    return [(n, m) for n, m in parent.named_children() if type(m).__name__.endswith("Norm")]


methods.add(
    BitFit(
        name="bitfit",
        family="selective",
        summary="the model's biases",
        # Section 4 searches 1e-4 to 1e-3 for BERT.
        paper="Ben Zaken et al. 2021, arXiv:2106.10199",
        config=BitFitConfig,
        learning_rate=1e-3,
    )
)
methods.add(
    LastLayers(
        name="last-layers",
        family="selective",
        summary="the last layers of the model",
        # A quarter of the layers comes to 90% of the quality of tuning all of them.
        paper="Lee et al. 2019, arXiv:1911.03090",
        config=LastLayersConfig,
        learning_rate=5e-5,
        trains_on=frozenset(),
    )
)
