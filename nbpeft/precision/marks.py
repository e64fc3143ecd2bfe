"""What transformers sets on a model that it loads quantized: its quantizer, config and flags."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from transformers.quantizers.base import HfQuantizer

OF_MODEL = (
    "hf_quantizer",
    "is_quantized",
    "quantization_method",
    "is_loaded_in_4bit",
    "is_loaded_in_8bit",
    "is_4bit_serializable",  # with the next, of earlier transformers
    "is_8bit_serializable",
)
OF_CONFIG = ("quantization_config", "_is_quantized")


_quieted: weakref.WeakSet[Marks] = weakref.WeakSet()
_TALKS = logging.getLogger("bitsandbytes.autograd._functions")


def _says_no_cast(record: logging.LogRecord) -> bool:
    """int8 layers tell, at every call of each, that they cast their input."""
    return "inputs will be cast" not in record.msg


class Marks:
    """The marks of a quantized model, and what stood in their places before."""

    def __init__(self, root: nn.Module, quantizer: HfQuantizer) -> None:
        self._before = [
            (owner, {name: owner.__dict__[name] for name in names if name in owner.__dict__})
            for owner, names in _owners(root)
        ]
        # As `HfQuantizer.preprocess_model` does, which would replace the layers, too.
        root.is_quantized = True  # type: ignore[assignment]
        root.quantization_method = quantizer.quantization_config.quant_method
        root.hf_quantizer = quantizer  # type: ignore[assignment]
        quantizer.postprocess_model(root)  # type: ignore[no-untyped-call]
        _quieted.add(self)
        _TALKS.addFilter(_says_no_cast)

    def take_off(self) -> None:
        """As it was before."""
        _quieted.discard(self)
        if not _quieted:
            _TALKS.removeFilter(_says_no_cast)
        for owner, before in self._before:
            for name in OF_MODEL if isinstance(owner, nn.Module) else OF_CONFIG:
                owner.__dict__.pop(name, None)
            owner.__dict__.update(before)


def _owners(root: nn.Module) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The model and the configs of it and of the models inside it, each once."""
    from transformers import PreTrainedModel

    yield root, OF_MODEL
    configs = {id(m.config): m.config for m in root.modules() if isinstance(m, PreTrainedModel)}
    for config in configs.values():
        yield config, OF_CONFIG
