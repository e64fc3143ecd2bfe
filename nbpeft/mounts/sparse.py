"""Tuned parameters that differ from the base in few values: kept as those values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nbpeft.errors import AdapterError
from nbpeft.mounts.parameters import CONFIG, ParametersMount, holding

WEIGHTS = "sparse_difference.safetensors"
PLACES, VALUES = " places", " values"
"""What follows a parameter's name in the file: places in it, flat, and the differences there."""


@dataclass(eq=False)
class SparseMount(ParametersMount):
    """Tuned values of which few differ from the base's."""

    differences: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Name -> (places in the flat parameter, differences)."""

    @property
    def trainable_parameters(self) -> int:
        """The values that differ."""
        return sum(len(places) for places, _ in self.differences.values())

    def save(self, root: nn.Module, folder: Path) -> None:
        """Write places and differences, and `config`."""
        from safetensors.torch import save_file

        arrays = {}
        for name, (places, values) in self.differences.items():
            arrays[name + PLACES], arrays[name + VALUES] = places, values
        save_file(arrays, str(folder / WEIGHTS), metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(dict(self.config), indent=1))


def sparse(
    root: nn.Module, differences: Mapping[str, torch.Tensor], config: Mapping[str, Any]
) -> SparseMount:
    """A mount over the bare `root` from whole differences, mostly zeros, by name."""
    found = {}
    for name, difference in differences.items():
        flat = difference.flatten()
        places = flat.nonzero().squeeze(1)
        if len(places):
            found[name] = (places.to(torch.int64).cpu(), flat[places].cpu())
    return _added(root, found, config)


def load(root: nn.Module, folder: Path) -> SparseMount:
    """What `save` wrote.

    Raises:
        AdapterError: it is of another model.
    """
    from safetensors.torch import load_file

    arrays = load_file(str(folder / WEIGHTS))
    names = [name.removesuffix(PLACES) for name in arrays if name.endswith(PLACES)]
    found = {name: (arrays[name + PLACES], arrays[name + VALUES]) for name in names}
    return _added(root, found, json.loads((folder / CONFIG).read_text()))


def _added(
    root: nn.Module,
    found: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    config: Mapping[str, Any],
) -> SparseMount:
    parameters = dict(root.named_parameters())
    values = {}
    for name, (places, differences) in found.items():
        base = parameters.get(name)
        if base is None or int(places.max()) >= base.numel() or int(places.min()) < 0:
            raise AdapterError(
                f"The sparse difference is of another model: this one has no {name} of its size."
            )
        tuned = base.detach().clone().flatten()
        tuned[places.to(base.device)] += differences.to(base.device, base.dtype)
        values[name] = tuned.view(base.shape)
    mount = holding(root, values, config)
    return SparseMount(mount.tuned, config, whole=False, differences=found)
