"""Mounts of adapters that PEFT wrote elsewhere, of whatever type.

What a type writes into the base is not for nbpeft to know here: every module that gets an adapter
is a private copy while PEFT builds, and what came out as it was is the base's own again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn

from nbpeft.errors import AdapterError, listed
from nbpeft.mounts import modules, prompts

_SHARED = ("vblora_vector_bank", ".tinylora_v.", ".unilora_theta_d.")
"""Parts of keys that PEFT keeps once while several layers point to them: most lack in the file."""


def load(root: nn.Module, folder: Path) -> modules.ModulesMount | prompts.PromptMount:
    """A mount over the bare `root` from a folder that PEFT wrote.

    Raises:
        AdapterError: the weights are of another model.
        ValueError, RuntimeError, …: what PEFT has to say.
    """
    config = PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning:
        return prompts.build(root, prompts.stored(folder))
    config.inference_mode = False
    targets = frozenset(modules.survey(root, _plain(config)).targets)
    biases = config.__dict__.get("bias", "none") != "none"

    def rewritten(name: str, parameter: nn.Parameter) -> bool:
        owner, _, kind = name.rpartition(".")
        # Nothing is written into packed values.
        writable = parameter.is_floating_point()
        return writable and (owner in targets or (biases and kind == "bias"))

    mount = modules.build(root, _stored(folder, config), rewritten)
    for swap in mount.swaps:
        _share(swap)
    own = {id(p): p for s in mount.swaps for p in s.adapter.parameters()}
    base = {id(p) for p in root.parameters()}
    mount.own = [p for i, p in own.items() if i not in base]
    return mount


def _plain(config: PeftConfig) -> PeftConfig:
    """With the cheapest initialisation: to see where adapters go needs no SVD of the base."""
    plain = copy.deepcopy(config)
    if "init_lora_weights" in plain.__dict__:
        plain.init_lora_weights = True
    return plain


def _stored(folder: Path, config: PeftConfig) -> Callable[[nn.Module], PeftModel]:
    """As `modules.stored`; what fits nowhere, or lacks, is an error."""

    def make(root: nn.Module) -> PeftModel:
        model = get_peft_model(root, config)
        assert isinstance(model, PeftModel)  # PeftMixedModel only with mixed=True
        result = model.load_adapter(str(folder), "default", is_trainable=True)
        missing = [k for k in result.missing_keys if not any(part in k for part in _SHARED)]
        for keys, what in ((result.unexpected_keys, "has weights for"), (missing, "lacks")):
            if keys:
                raise AdapterError(
                    f"The adapter is of a model of another shape: it {what} "
                    f"{listed(keys, limit=3)}."
                )
        return model

    return make


def _share(swap: modules.Swap) -> None:
    """Frozen values in an adapter's layer that equal the base's are the base's."""
    base = dict(swap.base.named_parameters(recurse=False))
    for module in swap.adapter.modules():
        for name, value in module._parameters.items():
            if value is None or value.requires_grad or name not in base:
                continue
            if value.shape == base[name].shape and torch.equal(value, base[name]):
                module._parameters[name] = base[name]
