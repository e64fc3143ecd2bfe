"""Mounts of adapter layers that stand in place of base modules (kind a).

PEFT injects once; what it changed in the module tree is kept as a list of pointers, and the tree is
put back. Attaching writes the pointers in, detaching writes the base's back: milliseconds, any mix
of types on one base, base outputs bit-identical after. PEFT's own `unload()` is not bit-identical
for several types and `PeftMixedModel` refuses others.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from peft import (
    PeftConfig,
    PeftModel,
    PeftModelForCausalLM,
    PeftModelForSeq2SeqLM,
    get_peft_model,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from nbpeft.guard import Guard
from nbpeft.mounts import Survey
from nbpeft.mounts.base import BaseMount
from nbpeft.quiet import quiet


@dataclass(frozen=True)
class Swap:
    """One pointer of the tree: which child of which module, and its two values."""

    parent: str
    child: str
    base: nn.Module
    adapter: nn.Module


@dataclass(eq=False)
class ModulesMount(BaseMount):
    """Adapter layers over a base; see `nbpeft.mounts.Mount` for the contract."""

    swaps: list[Swap]
    shell: PeftModel
    """PEFT's own model with the root taken out: it knows the config and how to save."""
    own: list[nn.Parameter]
    """The adapter's, and copies of base parameters that it writes into."""
    tuned: list[nn.Parameter]
    """Those that are trained."""

    @property
    def trainable(self) -> list[nn.Parameter]:
        """Those of the adapter that PEFT would train."""
        return self.tuned

    @property
    def held(self) -> list[nn.Parameter]:
        """With the copies."""
        return self.own

    def put_in(self, root: nn.Module) -> None:
        """Pointers in; adapter layers follow the mode and the device of their places."""
        for swap in self.swaps:
            put(root, swap.parent, swap.child, swap.adapter)
            follow(swap.adapter, swap.base)

    def take_out(self, root: nn.Module) -> None:
        """Pointers back."""
        for swap in self.swaps:
            # The user may have switched the model's mode meanwhile; adapter layers hold the base
            # modules inside, but copies (see `private_copies`) do not pass it on.
            swap.base.train(swap.adapter.training)
            put(root, swap.parent, swap.child, swap.base)

    @contextlib.contextmanager
    def as_peft(self, root: nn.Module) -> Iterator[PeftModel]:
        """PEFT's model around the root, while the adapter is in."""
        _bind(self.shell, root)
        try:
            yield self.shell
        finally:
            _unbind(self.shell)

    def save(self, root: nn.Module, folder: Path) -> None:
        """Write `adapter_model.safetensors` and `adapter_config.json` into `folder`."""
        with quiet(), self.as_peft(root) as model:
            # Embeddings of the base never: it is as the user has it, targeted or not.
            model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)


def build(
    root: nn.Module,
    make: Callable[[nn.Module], PeftModel],
    rewritten: Callable[[str, nn.Parameter], bool] | None = None,
) -> ModulesMount:
    """Build a mount over the bare `root`; the root is left as it was.

    `make` injects the adapter and returns PEFT's model. `rewritten(name, parameter)` says which
    base parameters the adapter writes into (PiSSA, OLoRA, bias="all"): the mount gets copies of
    those, so that the base itself never changes.
    """
    with Guard(root) as guard, quiet(), private_copies(root, rewritten):
        shell = make(root)
        swaps = list(_changed(root, guard.tree()))
        own = _own_parameters(swaps, guard)
        tuned = [p for p in own if p.requires_grad]
        _unbind(shell)
    return ModulesMount(swaps, shell, own, tuned)


def fresh(config: PeftConfig) -> Callable[[nn.Module], PeftModel]:
    """`make` for a new adapter; its weights come from the current random state."""

    def make(root: nn.Module) -> PeftModel:
        model = get_peft_model(root, copy.deepcopy(config))
        assert isinstance(model, PeftModel)  # PeftMixedModel only with mixed=True
        return model

    return make


def stored(folder: Path) -> Callable[[nn.Module], PeftModel]:
    """`make` for an adapter from a folder; only safetensors are read."""

    def make(root: nn.Module) -> PeftModel:
        model = PeftModel.from_pretrained(
            root, str(folder), is_trainable=True, use_safetensors=True
        )
        assert isinstance(model, PeftModel)
        return model

    return make


def survey(root: nn.Module, config: PeftConfig) -> Survey:
    """What `config` comes to on `root`, counted on the meta device."""
    with Guard(root) as guard, quiet():
        # PEFT moves layers over int8 ones about, and can't those on meta: they are made, and go.
        on_meta = not root.__dict__.get("is_loaded_in_8bit", False)
        get_peft_model(root, copy.deepcopy(config), low_cpu_mem_usage=on_meta)
        swaps = list(_changed(root, guard.tree()))
        own = _own_parameters(swaps, guard)
        return Survey(
            # Of the whole tree: `bias` makes parameters of the base trainable too.
            trainable_parameters=sum(p.numel() for p in _trainable(root)),
            # PEFT keeps half-precision adapters in fp32 (`autocast_adapter_dtype`).
            extra_bytes=sum(p.numel() * max(4, p.element_size()) for p in own),
            targets=tuple(f"{s.parent}.{s.child}".lstrip(".") for s in swaps),
        )


@contextlib.contextmanager
def private_copies(
    root: nn.Module, rewritten: Callable[[str, nn.Parameter], bool] | None
) -> Iterator[None]:
    """Inside, the modules that own a rewritten parameter are shallow copies with clones of it."""
    if rewritten is None:
        yield
        return
    for path, module in list(root.named_modules()):
        names = [
            name
            for name, parameter in module._parameters.items()
            if parameter is not None and rewritten(f"{path}.{name}", parameter)
        ]
        if not names or not path:
            continue
        private = copy.copy(module)
        private._parameters = dict(module._parameters)
        for name in names:
            clone = module._parameters[name].detach().clone()  # type: ignore[union-attr]
            private._parameters[name] = nn.Parameter(clone)
        parent, _, child = path.rpartition(".")
        put(root, parent, child, private)
    yield


def _changed(root: nn.Module, before: dict[int, dict[str, nn.Module]]) -> Iterator[Swap]:
    """The topmost pointers of the tree that differ from `before`, in order."""
    waiting = [("", root)]
    while waiting:
        path, module = waiting.pop()
        for name, child in module._modules.items():
            was = before[id(module)].get(name)
            if child is not was and was is not None:
                yield Swap(path, name, was, child)  # type: ignore[arg-type]
            elif child is not None:
                waiting.append((f"{path}.{name}" if path else name, child))


def _own_parameters(swaps: list[Swap], guard: Guard) -> list[nn.Parameter]:
    """The parameters in the adapters' modules that aren't the base's own."""
    base = guard.tensor_ids()
    own = {id(p): p for s in swaps for p in s.adapter.parameters() if id(p) not in base}
    return list(own.values())


def _trainable(root: nn.Module) -> list[nn.Parameter]:
    """What would be trained; on the meta device PEFT forgets that AdaLoRA's `ranknum` is not."""
    layers = [module for module in root.modules() if isinstance(module, BaseTunerLayer)]
    others = [vars(x)["_modules"].get(name) for x in layers for name in x.other_param_names]
    fixed = {id(p) for o in others if isinstance(o, nn.ParameterDict) for p in o.parameters()}
    return [p for p in root.parameters() if p.requires_grad and id(p) not in fixed]


def put(root: nn.Module, parent: str, child: str, module: nn.Module) -> None:
    """Write one pointer of the tree."""
    root.get_submodule(parent)._modules[child] = module


def follow(adapter: nn.Module, base: nn.Module) -> None:
    """Bring an adapter layer to the mode and the device of the base module it stands for."""
    adapter.train(base.training)
    at = next(base.parameters(), None)
    own = next((p for p in adapter.parameters() if p.requires_grad), None)
    if at is not None and own is not None and own.device != at.device:
        adapter.to(at.device)


BOUND = "base_model_prepare_inputs_for_generation"
"""Where PEFT's models for text that is written keep a bound method of the root."""


def _bind(shell: PeftModel, root: nn.Module) -> None:
    shell.base_model.model = root
    if isinstance(shell, PeftModelForCausalLM | PeftModelForSeq2SeqLM):
        shell.__dict__[BOUND] = root.prepare_inputs_for_generation


def _unbind(shell: PeftModel) -> None:
    """Take the root out, and the bound method that PEFT's model keeps of it."""
    shell.base_model._modules.pop("model", None)
    shell.__dict__.pop(BOUND, None)
