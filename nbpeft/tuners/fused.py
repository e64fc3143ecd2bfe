"""LoRA on fused parameters (a mixture's experts) without a mark on the base's weights.

PEFT puts the sum of weight and update in the weight's place for the time of a forward, by torch's
parametrizations. Those call `set_` on the weight with its own data: no value changes, but torch
counts it as written in place, which is what the guard goes by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from peft import PeftModel
from peft.tuners.lora.layer import ParamWrapper


class Unmarked(ParamWrapper):  # type: ignore[misc]
    """PEFT's layer around one parameter; the parameter's version stays."""

    @contextlib.contextmanager
    def _activate_lora(self, active_adapters: list[str]) -> Iterator[None]:
        with contextlib.ExitStack() as active:
            # Back before the forward, so that what autograd saves in it has the version of later.
            with torch.autograd._unsafe_preserve_version_counter(self.get_param()):
                active.enter_context(super()._activate_lora(active_adapters))
            yield


def unmarked(model: PeftModel) -> PeftModel:
    """The model with its layers around parameters made so."""
    for module in model.modules():
        if type(module) is ParamWrapper:
            module.__class__ = Unmarked
    return model
