"""Which models can be quantized in place, and what that comes to in memory; nothing is changed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nbpeft.errors import ModelError, RequestError
from nbpeft.plan import Weights
from nbpeft.precision import AS_LOADED
from nbpeft.request import Quantize

if TYPE_CHECKING:
    from torch import nn

MOST_ELSEWHERE = 0.1
"""Share of a model's values that may lie in matrices outside of linear layers."""


def loaded_as(root: nn.Module) -> str:
    """The precision that the user loaded the bare root in: nf4, fp4, int8, or AS_LOADED.

    Other libraries' quantized models go by transformers' name of the method: gptq, awq, …
    """
    config: Any = root.config.__dict__.get("quantization_config")  # type: ignore[union-attr]
    if config is None:
        return AS_LOADED
    method = str(getattr(config.quant_method, "value", config.quant_method))
    if method != "bitsandbytes":
        return method
    return str(config.bnb_4bit_quant_type) if config.load_in_4bit else "int8"


def check(root: nn.Module, kind: Quantize) -> Weights:
    """What quantizing the bare root as loaded comes to.

    Raises:
        RequestError: bitsandbytes isn't installed.
        ModelError: the model can't be quantized in place, and why.
    """
    if find_spec("bitsandbytes") is None:
        raise RequestError(
            f"Quantizing to {kind} needs bitsandbytes, which is not installed: "
            "%pip install bitsandbytes, then type the cell again."
        )
    from nbpeft.precision.layers import bytes_of, quantizable

    name = type(root).__name__
    if any("_hf_hook" in module.__dict__ for module in root.modules()):
        raise ModelError(
            f"The {name} is spread over several devices, and its layers can't be replaced there; "
            "load it with device_map={'': 0}, or quantized with a BitsAndBytesConfig."
        )
    layers = [layer for _, layer in quantizable(root)]
    weights: list[Any] = [layer.weight for layer in layers]
    total = sum(p.numel() for p in root.parameters())
    stays = 1 - sum(w.numel() for w in weights) / max(1, total)
    if not layers or _elsewhere(root) > MOST_ELSEWHERE * total:
        raise ModelError(
            f"{name} can't be quantized in place: {stays:.0%} of its weights would stay as they "
            "are, since they don't lie in plain linear layers (but in fused experts, say, or in "
            "layers of a class of its own); train it as loaded, or load it quantized by a library "
            "that knows it."
        )
    everything = sum(p.numel() * p.element_size() for p in root.parameters())
    taken = sum(w.numel() * w.element_size() for w in weights)
    return Weights(everything, everything - taken + sum(bytes_of(layer, kind) for layer in layers))


def _elsewhere(root: nn.Module) -> int:
    """Values in matrices that belong to neither linear layers nor embeddings."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    known = (nn.Linear, Conv1D, nn.Embedding)
    return sum(
        p.numel()
        for module in root.modules()
        if not isinstance(module, known)
        for p in module.parameters(recurse=False)
        if p.dim() >= 2
    )
