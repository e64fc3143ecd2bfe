"""Mounts of tuned values in place of the base's own parameters (kind b).

Full and selective tuning change the model's own weights. Here a tuned parameter is another object
that takes the base parameter's slots in the module tree (all of them, where weights are tied), so
that the base is never written, is bit-identical once the slots are given back, and a switch writes
pointers only. The price is a copy of what is tuned; `extra_bytes` says how large.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nbpeft.errors import AdapterError, quoted
from nbpeft.mounts import Survey
from nbpeft.mounts.base import BaseMount

CONFIG = "tuned_parameters.json"
WEIGHTS = "tuned_parameters.safetensors"
FIT = "_hf_peft_config_loaded"
WHOLE = "model.safetensors"
"""As transformers calls it: `from_pretrained` of the folder loads a fully tuned model."""


@dataclass(frozen=True)
class Tuned:
    """One parameter: where it stands, its base value and its tuned one."""

    name: str
    """As `named_parameters` has it."""
    slots: tuple[tuple[str, str], ...]
    """(path of a module, name in it); several where weights are tied."""
    base: nn.Parameter
    own: nn.Parameter


@dataclass(eq=False)
class ParametersMount(BaseMount):
    """Tuned values of base parameters; see `nbpeft.mounts.Mount` for the contract."""

    tuned: list[Tuned]
    config: Mapping[str, Any]
    """What is written beside the values: the method and its settings."""
    whole: bool
    """Whether these are all of the base's parameters."""

    @property
    def trainable(self) -> list[nn.Parameter]:
        """The tuned values."""
        return [tuned.own for tuned in self.tuned]

    def put_in(self, root: nn.Module) -> None:
        """The tuned values stand in the tree, on the device where the base's lay."""
        for tuned in self.tuned:
            _move(tuned.own, tuned.base)
            _fill(root, tuned.slots, tuned.own)

    def take_out(self, root: nn.Module) -> None:
        """The base's own parameters again; the user may have moved the model meanwhile."""
        for tuned in self.tuned:
            _move(tuned.base, tuned.own)
            _fill(root, tuned.slots, tuned.base)

    @contextlib.contextmanager
    def as_peft(self, root: nn.Module) -> Iterator[nn.Module]:
        """The root; over quantized weights with the mark by which trainers know that it's fit."""
        if "hf_quantizer" in root.__dict__:
            root.__dict__[FIT] = True
        try:
            yield root
        finally:
            root.__dict__.pop(FIT, None)

    def save(self, root: nn.Module, folder: Path) -> None:
        """Write the tuned values by name, and `config`; a whole model as transformers reads it."""
        from safetensors.torch import save_file

        values = {tuned.name: tuned.own.detach().contiguous() for tuned in self.tuned}
        name = WHOLE if self.whole else WEIGHTS
        save_file(values, str(folder / name), metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(dict(self.config), indent=1))
        if self.whole:
            root.config.save_pretrained(str(folder))  # type: ignore[union-attr,operator]
            if root.can_generate():  # type: ignore[operator]
                root.generation_config.save_pretrained(str(folder))  # type: ignore[union-attr,operator]


def build(root: nn.Module, names: Iterable[str], config: Mapping[str, Any]) -> ParametersMount:
    """A mount over the bare `root` with copies of the parameters called `names` to tune."""
    chosen = set(names)
    slots = _slots(root)
    parameters = dict(root.named_parameters())
    tuned = [
        Tuned(name, slots[id(base)], base, nn.Parameter(base.detach().clone()))
        for name, base in parameters.items()
        if name in chosen
    ]
    return ParametersMount(tuned, config, whole=len(tuned) == len(parameters))


def load(root: nn.Module, folder: Path) -> ParametersMount:
    """A mount over the bare `root` with the values that `save` wrote.

    Raises:
        AdapterError: they are of another model.
    """
    from safetensors.torch import load_file

    config = json.loads((folder / CONFIG).read_text())
    path = folder / WHOLE
    values = load_file(str(path if path.is_file() else folder / WEIGHTS))
    return holding(root, values, config)


def holding(
    root: nn.Module, values: Mapping[str, torch.Tensor], config: Mapping[str, Any]
) -> ParametersMount:
    """A mount over the bare `root` with these values, by name.

    Raises:
        AdapterError: the root has no such parameter, or of another shape.
    """
    mount = build(root, values, config)
    found = {tuned.name: tuned for tuned in mount.tuned}
    for name, value in values.items():
        if name not in found or found[name].own.shape != value.shape:
            has = "no such one" if name not in found else f"one of {tuple(found[name].own.shape)}"
            raise AdapterError(
                f"The tuned values are of another model: they hold {quoted(name)} of shape "
                f"{tuple(value.shape)}, and this model has {has}."
            )
        with torch.no_grad():
            found[name].own.copy_(value)
    return mount


def survey(root: nn.Module, names: Iterable[str]) -> Survey:
    """What tuning these parameters comes to."""
    chosen = set(names)
    tuned = [(name, p) for name, p in root.named_parameters() if name in chosen]
    return Survey(
        trainable_parameters=sum(p.numel() for _, p in tuned),
        extra_bytes=sum(p.numel() * p.element_size() for _, p in tuned),
        targets=tuple(name for name, _ in tuned),
    )


def _slots(root: nn.Module) -> dict[int, tuple[tuple[str, str], ...]]:
    """Where each parameter stands: id -> (path of a module, name in it), tied ones several."""
    found: dict[int, list[tuple[str, str]]] = {}
    for path, module in root.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), []).append((path, name))
    return {key: tuple(places) for key, places in found.items()}


def _fill(root: nn.Module, slots: Iterable[tuple[str, str]], parameter: nn.Parameter) -> None:
    for path, name in slots:
        root.get_submodule(path)._parameters[name] = parameter


def _move(parameter: nn.Parameter, to: nn.Parameter) -> None:
    if parameter.device != to.device:
        parameter.data = parameter.data.to(to.device)
