"""Where a layer's original weight stays while the layer is quantized, and how it comes back.

In host memory, for a model on a GPU; in the checkpoint that the model was loaded from, where that
holds the same bits; nowhere, where the user gave it up (`--in-place`). The Parameter object is the
user's and stays; only its data goes and comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from nbpeft.errors import ModelError, quoted
from nbpeft.room import free_host_memory


class Original(Protocol):
    """One weight that is away."""

    def back(self, device: torch.device) -> torch.Tensor:
        """The weight as it was, bit for bit, on that device."""


@dataclass
class InMemory:
    """Kept in host memory."""

    weight: torch.Tensor

    def back(self, device: torch.device) -> torch.Tensor:
        """From there."""
        return self.weight.to(device)


@dataclass(frozen=True)
class InCheckpoint:
    """Left in a file that holds the same bits."""

    file: Path
    key: str
    dtype: torch.dtype
    stamp: tuple[int, ...]
    """What the file's size, time and place on the disk were when the weight was compared."""

    def back(self, device: torch.device) -> torch.Tensor:
        """Read again; ModelError where the file is another one by now."""
        if _stamp(self.file) != self.stamp:
            raise ModelError(
                f"The weights as loaded were to be read again from {quoted(str(self.file), 200)}, "
                "and that file has changed since: the model stays quantized; load it again."
            )
        # A copy: what safetensors gives is the file itself, mapped.
        return _read(self.file, self.key).to(device, self.dtype, copy=True)


class Checkpoint:
    """The safetensors files that a model was loaded from, as far as they are on this machine."""

    def __init__(self, root: nn.Module) -> None:
        self._prefix = f"{root.base_model_prefix}."  # type: ignore[operator]
        self._files = _keys(str(root.config._name_or_path or ""))  # type: ignore[union-attr]

    def __bool__(self) -> bool:
        return bool(self._files)

    def find(self, name: str, weight: torch.Tensor) -> InCheckpoint | None:
        """Where a parameter's very bits lie; None where they don't."""
        for key in (name, name.removeprefix(self._prefix), f"{self._prefix}{name}"):
            file = self._files.get(key)
            if file is None:
                continue
            stamp, there = _stamp(file), _read(file, key)
            same = there.shape == weight.shape and torch.equal(
                there.to(weight.device, weight.dtype), weight.detach()
            )
            return InCheckpoint(file, key, weight.dtype, stamp) if same else None
        return None


def _keys(name_or_path: str) -> dict[str, Path]:
    """Parameter's name -> file; nothing is downloaded, and only safetensors are read."""
    import json

    from safetensors import safe_open
    from transformers.utils import cached_file

    def local(name: str) -> Path | None:
        if not name_or_path:
            return None
        found = cached_file(
            name_or_path,
            name,
            local_files_only=True,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return Path(found) if found else None

    whole, index = local("model.safetensors"), local("model.safetensors.index.json")
    if whole is not None:
        with safe_open(str(whole), "pt") as file:
            return dict.fromkeys(file.keys(), whole)
    if index is None:
        return {}
    parts = json.loads(index.read_text())["weight_map"]
    return {key: index.parent / part for key, part in parts.items() if Path(part).name == part}


def _read(file: Path, key: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(str(file), "pt") as opened:
        tensor: torch.Tensor = opened.get_tensor(key)
        return tensor


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ino


Place = Literal["host", "here", "checkpoint"]
"""Host memory, for a model on a GPU; where they are, for one on the CPU; a file."""
ROOM = 1 << 28
"""Bytes of host memory that are left free: for the notebook, and what the run needs there."""


class Keeping:
    """Chooses where the weights of these layers stay.

    A model on a GPU keeps them in host memory where they fit; otherwise, and for a model that lies
    in host memory anyway, the checkpoint keeps those that it holds the same bits of.
    """

    def __init__(self, root: nn.Module, layers: Sequence[tuple[str, nn.Module]]) -> None:
        weights: list[Any] = [layer.weight for _, layer in layers]
        size = sum(w.numel() * w.element_size() for w in weights)
        self._on_host = on_host(root)
        roomy = not self._on_host and size + ROOM <= free_host_memory()
        self._checkpoint = None if roomy else Checkpoint(root)
        path, first = layers[0]
        self.place: Place = "here" if self._on_host else "host"
        if self._checkpoint and self._checkpoint.find(f"{path}.weight", first.weight):  # type: ignore[arg-type]
            self.place = "checkpoint"

    def keep(self, path: str, layer: nn.Module) -> Original:
        """Where the weight of the layer at `path` is from now on; ModelError where there's none."""
        weight: Any = layer.weight
        found = self._checkpoint.find(f"{path}.weight", weight) if self._checkpoint else None
        if found is not None:
            return found
        if not self._on_host and weight.numel() * weight.element_size() + ROOM > free_host_memory():
            raise ModelError(
                "There is no room in host memory for the model's original weights, and no "
                "checkpoint on this machine holds them: type --in-place to quantize it for good "
                "(the base as loaded is gone until you load it again)."
            )
        return InMemory(weight.detach().to("cpu"))


def on_host(root: nn.Module) -> bool:
    """Whether a model lies in host memory."""
    return next(root.parameters()).device.type == "cpu"


def foreseen(root: nn.Module) -> Place:
    """Where the weights of the bare root as loaded would stay; by a look at the first of them."""
    from nbpeft.precision.layers import quantizable

    return Keeping(root, list(quantizable(root))).place
