"""Layers in 4 or 8 bits by shape: what quantizing a base in place would put in its tree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nbpeft.precision.layers import BLOCK, BLOCKS, quantizable, twin_of
from nbpeft.request import Quantize

if TYPE_CHECKING:
    from transformers.quantizers.base import HfQuantizer


def shapes_of(root: nn.Module, kind: Quantize, quantizer: HfQuantizer) -> dict[int, nn.Module]:
    """The base's layers that would be quantized (by id), and what would stand in their places."""
    stand_ins = {}
    for path, layer in quantizable(root):
        twin = twin_of(path, layer, quantizer).twin
        twin._parameters["weight"] = (_int8 if kind == "int8" else _four_bits)(layer, twin)
        if layer.bias is not None:
            twin._parameters["bias"] = nn.Parameter(_meta(layer.bias), requires_grad=False)
        if kind == "int8":
            twin.state.CB, twin.state.SCB = twin.weight.data, _meta_of(torch.float32, _rows(layer))
        twin.train(layer.training)
        stand_ins[id(layer)] = twin
    return stand_ins


def _four_bits(layer: nn.Module, twin: Any) -> nn.Parameter:
    """A 4-bit weight with its state: packed values, and scales that are quantized themselves."""
    from bitsandbytes.functional import QuantState
    from bitsandbytes.nn.modules import Params4bit

    weight: Any = layer.weight
    blank = twin._parameters["weight"]
    blocks = math.ceil(weight.numel() / BLOCK)
    second = QuantState(
        absmax=_meta_of(torch.float32, math.ceil(blocks / BLOCKS)),
        code=_meta_of(torch.float32, 256),
        blocksize=BLOCKS,
        dtype=torch.float32,
    )
    state = QuantState(
        absmax=_meta_of(torch.uint8, blocks),
        shape=torch.Size(reversed(weight.shape)) if _is_transposed(layer) else weight.shape,
        code=_meta_of(torch.float32, 16),
        blocksize=BLOCK,
        quant_type=blank.quant_type,
        dtype=weight.dtype,
        offset=_meta_of(torch.float32),
        state2=second,
    )
    packed = _meta_of(torch.uint8, math.ceil(weight.numel() / 2), 1)
    made: Any = torch.Tensor._make_subclass(Params4bit, packed, require_grad=False)
    made.__dict__.update(blank.__dict__)
    made.quant_state, made.bnb_quantized, made.module = state, True, None
    twin.quant_state = state
    return made  # type: ignore[no-any-return]


def _int8(layer: nn.Module, twin: Any) -> nn.Parameter:
    """An 8-bit weight as it is once its layer has been used."""
    from bitsandbytes.nn.modules import Int8Params

    rows = _rows(layer)
    weight: Any = layer.weight
    values = _meta_of(torch.int8, rows, weight.numel() // rows)
    return Int8Params(values, requires_grad=False, has_fp16_weights=False)  # type: ignore[no-any-return]


def _rows(layer: nn.Module) -> int:
    """Outputs of a layer."""
    weight: Any = layer.weight
    return int(weight.shape[1 if _is_transposed(layer) else 0])


def _is_transposed(layer: nn.Module) -> bool:
    """Whether the weight is (in, out): GPT-2's linear layer."""
    return type(layer) is not nn.Linear


def _meta(tensor: Any) -> torch.Tensor:
    return _meta_of(tensor.dtype, *tensor.shape)


def _meta_of(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")
