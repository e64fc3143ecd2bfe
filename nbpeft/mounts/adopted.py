"""Adapters that the user made with PEFT before nbpeft came: adopted as they are, never nested."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import nn

from nbpeft.errors import ModelError
from nbpeft.mounts.modules import Swap, put
from nbpeft.precision import AS_LOADED
from nbpeft.quiet import quiet


class AdoptedMount:
    """One adapter of a PeftModel that the user made; see `nbpeft.mounts.Mount`.

    All adapters of one PeftModel share their layers: attaching one makes it the active one, as
    PEFT's `set_adapter` does. `owner` is the user's PeftModel, or the model itself where adapters
    were added with transformers' `add_adapter`.
    """

    rebinds = False
    state = AS_LOADED

    def __init__(self, root: nn.Module, name: str) -> None:
        self.name = name
        self.swaps = list(resident(root))
        own = [p for path, p in root.named_parameters() if f".{name}." in f"{path}."]
        self.trainable_parameters = sum(p.numel() for p in own)
        self.extra_bytes = sum(p.numel() * p.element_size() for p in own)

    def attach(self, root: nn.Module) -> None:
        """Layers in and switched on, this adapter active."""
        self.put_in(root)
        for layer in self._layers():
            layer.enable_adapters(True)
            layer.set_adapter(self.name)

    def detach(self, root: nn.Module) -> None:
        """Layers out of the tree."""
        self.take_out(root)

    def rest(self, root: nn.Module) -> None:
        """Layers in, all adapters off: the user's PeftModel stays whole, and can still be saved."""
        self.put_in(root)
        flags = [(p, p.requires_grad) for layer in self._layers() for p in layer.parameters()]
        for layer in self._layers():
            layer.enable_adapters(False)
        for parameter, flag in flags:  # PEFT's switch touches them
            parameter.requires_grad_(flag)

    def put_in(self, root: nn.Module) -> None:
        """Pointers in."""
        for swap in self.swaps:
            put(root, swap.parent, swap.child, swap.adapter)

    def take_out(self, root: nn.Module) -> None:
        """Pointers back."""
        for swap in self.swaps:
            put(root, swap.parent, swap.child, swap.base)

    @contextlib.contextmanager
    def switched_on(self) -> Iterator[None]:
        """Inside, the layers answer as this adapter, whichever is active or off; no flag moves."""
        # PEFT's own switches would set requires_grad.
        layers = list(self._layers())
        before = [(layer._active_adapter, layer._disable_adapters) for layer in layers]
        try:
            for layer in layers:
                layer._active_adapter, layer._disable_adapters = [self.name], False
            yield
        finally:
            for layer, switches in zip(layers, before, strict=True):
                layer._active_adapter, layer._disable_adapters = switches

    def model(self, root: nn.Module) -> nn.Module:
        """The root itself; the user's PeftModel is around it already."""
        return root

    @contextlib.contextmanager
    def as_peft(self, root: nn.Module) -> Iterator[Any]:
        """The root itself: its layers are PEFT's."""
        yield root

    def save(self, root: nn.Module, folder: Path) -> None:
        """Write the adapter in PEFT's format."""
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        config = root.peft_config[self.name]  # type: ignore[index]
        with quiet():
            state = get_peft_model_state_dict(root, adapter_name=self.name)
            keys = {f"base_model.model.{key}": value for key, value in state.items()}
            save_file(keys, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
            config.save_pretrained(str(folder))

    def _layers(self) -> Iterator[Any]:
        for swap in self.swaps:
            if isinstance(swap.adapter, BaseTunerLayer | AuxiliaryTrainingWrapper):
                yield swap.adapter


def resident(root: nn.Module) -> Iterator[Swap]:
    """The adapter layers in a model's tree, each with the base module that it stands for."""
    waiting: list[tuple[str, nn.Module]] = [("", root)]
    while waiting:
        path, module = waiting.pop()
        for name, child in module._modules.items():
            if isinstance(child, BaseTunerLayer):
                if child.merged:
                    raise ModelError(
                        "The model has adapters merged into its weights; call "
                        "model.unmerge_adapter() first, so that the base is the base again."
                    )
                yield Swap(path, name, child.get_base_layer(), child)
            elif isinstance(child, AuxiliaryTrainingWrapper):
                yield Swap(path, name, child.original_module, child)
            elif child is not None:
                waiting.append((f"{path}.{name}" if path else name, child))


def active_name(root: nn.Module) -> str | None:
    """The adapter that the model answers with; None when there is none or they are off."""
    for swap in resident(root):
        if isinstance(swap.adapter, BaseTunerLayer):
            active = swap.adapter.active_adapters
            return active[0] if active and not swap.adapter.disable_adapters else None
    return None


def adapter_names(root: nn.Module) -> tuple[str, ...]:
    """The PEFT names of the adapters in a model's tree."""
    if not any(True for _ in resident(root)):
        return ()
    return tuple(root.peft_config)  # type: ignore[arg-type]
