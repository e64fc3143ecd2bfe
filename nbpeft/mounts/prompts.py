"""Mounts of soft prompts: a wrapper around the model that puts trained vectors before its input.

(Kind c.) Nothing in the module tree changes, so what answers as the adapter is PEFT's wrapper; the
user's names of the model must hold it while the adapter is attached. The mount keeps PEFT's shell
without the model, and makes the wrapper for whoever asks: the model is never held from here.
"""

from __future__ import annotations

import copy
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn

from nbpeft.guard import Guard
from nbpeft.mounts import Survey
from nbpeft.mounts.base import BaseMount
from nbpeft.quiet import quiet

LEFT = (("", "prepare_inputs_for_generation"), ("model", "generation_config"))
"""What PEFT's wrapper leaves on a model and its body once it has generated: (path, attribute)."""

_WRAPPERS: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def is_wrapper(value: object) -> bool:
    """Whether this is a wrapper that a mount made, not a PeftModel of the user's own."""
    return isinstance(value, PeftModel) and value in _WRAPPERS


@dataclass(eq=False)
class PromptMount(BaseMount):
    """A soft prompt before a model's input; see `nbpeft.mounts.Mount` for the contract."""

    shell: PeftModel
    """PEFT's wrapper with the model taken out."""
    _lacks: list[tuple[str, str]] = field(default_factory=list, init=False)
    _wrapper: weakref.ref[PeftModel] | None = field(default=None, init=False)

    @property
    def rebinds(self) -> bool:
        """Names of the model must hold the wrapper."""
        return True

    @property
    def trainable(self) -> list[nn.Parameter]:
        """The prompt, or the encoder that makes it."""
        return list(self.shell.prompt_encoder.parameters())

    def put_in(self, root: nn.Module) -> None:
        """The prompt follows the model's mode and device; nothing in the tree changes."""
        inside = {"": root, **root._modules}
        self._lacks = [
            (path, name)
            for path, name in LEFT
            if (module := inside.get(path)) is not None and name not in module.__dict__
        ]
        self.shell.prompt_encoder.train(root.training)
        device = next(root.parameters()).device
        if self.trainable[0].device != device:
            self.shell.prompt_encoder.to(device)

    def take_out(self, root: nn.Module) -> None:
        """Nothing is in the tree; what PEFT's `generate` leaves on the model goes."""
        for path, name in self._lacks:
            root.get_submodule(path).__dict__.pop(name, None)
        self._lacks = []

    def model(self, root: nn.Module) -> PeftModel:
        """The wrapper: the same one for as long as somebody holds it."""
        wrapper = self._wrapper() if self._wrapper else None
        if wrapper is None:
            wrapper = _around(self.shell, root)
            self._wrapper = weakref.ref(wrapper)
        wrapper.training = root.training
        return wrapper

    def save(self, root: nn.Module, folder: Path) -> None:
        """Write `adapter_model.safetensors` and `adapter_config.json`: the prompt, no encoder."""
        with quiet():
            # Else PEFT looks on the hub whether the vocabulary has grown.
            self.model(root).save_pretrained(
                str(folder), safe_serialization=True, save_embedding_layers=False
            )


def build(root: nn.Module, make: Callable[[nn.Module], PeftModel]) -> PromptMount:
    """A mount over the bare `root`; `make` wraps it, and the root is left as it was."""
    with Guard(root), quiet():
        shell = make(root)
        shell._modules.pop("base_model")
        shell.__dict__.pop("base_model_prepare_inputs_for_generation", None)
    for parameter in shell.prompt_encoder.parameters():
        parameter.requires_grad_(True)
    return PromptMount(shell)


def fresh(config: PeftConfig) -> Callable[[nn.Module], PeftModel]:
    """`make` for a new prompt; its values come from the current random state."""

    def make(root: nn.Module) -> PeftModel:
        model = get_peft_model(root, copy.deepcopy(config))
        assert isinstance(model, PeftModel)  # PeftMixedModel only with mixed=True
        return model

    return make


def stored(folder: Path) -> Callable[[nn.Module], PeftModel]:
    """`make` for a prompt from a folder; only safetensors are read.

    What is stored is the prompt itself and not the encoder that made it, so it is read for
    inference: the prompt is used as it stands, and trained as it stands by a run that goes on.
    """

    def make(root: nn.Module) -> PeftModel:
        return PeftModel.from_pretrained(root, str(folder), use_safetensors=True)

    return make


def without_encoder(mount: PromptMount, root: nn.Module) -> PromptMount:
    """The prompt that an encoder makes, by itself: what the shelf keeps, by way of its files."""
    with tempfile.TemporaryDirectory(prefix="nbpeft-") as folder:
        mount.save(root, Path(folder))
        return build(root, stored(Path(folder)))


def survey(root: nn.Module, config: PeftConfig) -> Survey:
    """What `config` comes to on `root`, counted on the meta device.

    PEFT's wrapper would move what it makes to the model's device, so only the encoder is made.
    """
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.utils import PeftType
    from peft.utils.other import _prepare_prompt_learning_config

    config = copy.deepcopy(config)
    inputs = []
    if config.peft_type == PeftType.PROMPT_TUNING:
        config.prompt_tuning_init = "RANDOM"  # type: ignore[attr-defined]
        inputs = [root.get_input_embeddings()]  # type: ignore[operator]
    if config.num_transformer_submodules is None:  # type: ignore[attr-defined]
        both = config.task_type == "SEQ_2_SEQ_LM"  # as PEFT sets it
        config.num_transformer_submodules = 2 if both else 1  # type: ignore[attr-defined]
    config = _prepare_prompt_learning_config(config, root.config)
    with torch.device("meta"):
        encoder = PEFT_TYPE_TO_TUNER_MAPPING[PeftType(config.peft_type)](config, *inputs)
    own = list(encoder.parameters())
    return Survey(
        trainable_parameters=sum(p.numel() for p in own),
        extra_bytes=sum(p.numel() * p.element_size() for p in own),
        targets=("the input",),
    )


def _around(shell: PeftModel, root: nn.Module) -> PeftModel:
    """A wrapper of its own around the root, which shares the shell's prompt."""
    wrapper: PeftModel = copy.copy(shell)
    wrapper._modules = {"base_model": root, **shell._modules}
    if root.can_generate():  # type: ignore[operator]
        wrapper.base_model_prepare_inputs_for_generation = root.prepare_inputs_for_generation
    _WRAPPERS.add(wrapper)
    return wrapper
