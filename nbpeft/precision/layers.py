"""One linear layer in 4 or 8 bits, and which layers of a model that can be.

The layers are those that transformers replaces when it loads a model with a
`BitsAndBytesConfig`, made by its own functions, so that their state and what they compute are bit
for bit those of a model that was loaded quantized (NF4 and double quantization: Dettmers et al.
2023, arXiv:2305.14314; int8: Dettmers et al. 2022, arXiv:2208.07339).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nbpeft.request import Quantize

if TYPE_CHECKING:
    from transformers.quantizers.base import HfQuantizer

BLOCK, BLOCKS = 64, 256
"""Values of a 4-bit block, and blocks whose maxima are quantized together (double quantization)."""


def quantizer_for(root: nn.Module, kind: Quantize) -> HfQuantizer:
    """Transformers' quantizer for a model that is not quantized yet."""
    from transformers import BitsAndBytesConfig
    from transformers.quantizers.auto import AutoHfQuantizer

    if kind == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=kind,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype(next(root.parameters()).device),
        )
    quantizer: HfQuantizer = AutoHfQuantizer.from_config(config, pre_quantized=False)
    quantizer.modules_to_not_convert = kept(root)  # type: ignore[attr-defined]
    return quantizer


def kept(root: nn.Module) -> list[str]:
    """What transformers leaves as it is: the output layer, what is tied, what is kept in fp32."""
    from transformers.quantizers.base import HfQuantizer

    own: Any = root._keep_in_fp32_modules
    names: list[str] = HfQuantizer.get_modules_to_not_convert(root, None, own)
    # It takes the last parameter for the output layer's, which is tied by now.
    last, there = (
        list(root.named_parameters(remove_duplicate=once))[-1][0] for once in (True, False)
    )
    return names if last == there else [name for name in names if name != last]


def compute_dtype(device: torch.device) -> torch.dtype:
    """What 4-bit layers compute in: bf16 where the hardware is fast at it, else what it is fast at.

    fp16 on GPUs before Ampere; fp32 on CPUs without bf16 instructions, which would emulate them.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float16
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def quantizable(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, layer) of the bare root's linear layers that transformers would quantize."""
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.quantizers_utils import should_convert_module

    stay = kept(root)
    for path, module in root.named_modules():
        linear = type(module) is nn.Linear or isinstance(module, Conv1D)
        if linear and should_convert_module(path, stay):
            yield path, module


def bytes_of(layer: nn.Module, kind: Quantize) -> int:
    """What a linear layer's weight takes in memory once it is quantized, its scales included."""
    weight: Any = layer.weight
    if kind == "int8":
        rows = weight.shape[0 if type(layer) is nn.Linear else 1]  # Conv1D's is (in, out)
        return int(weight.numel() + 4 * rows)
    blocks = -(-weight.numel() // BLOCK)
    second = 4 * -(-blocks // BLOCKS)
    tables = 4 * (16 + 256 + 1)  # of the 4-bit code, of the scales' code, and the scales' offset
    return int(-(-weight.numel() // 2) + blocks + second + tables)


@dataclass(eq=False)
class QuantizedLayer:
    """A base layer and its twin in few bits, which holds something only while it is in the tree."""

    path: str
    base: nn.Module
    twin: Any
    blank: nn.Parameter
    """The twin's weight while it holds nothing: on the meta device."""

    def fill(self, quantizer: HfQuantizer) -> None:
        """Quantize the base layer's weight into the twin, as transformers does when it loads."""
        weight: Any = self.base.weight
        self.twin._parameters["weight"] = self.blank
        op = quantizer.get_quantize_ops()  # type: ignore[no-untyped-call]
        holder = _Holder(self.twin)
        given = {"layer.weight": weight.detach()}
        self.twin.weight = op.convert(given, model=holder, full_layer_name="layer.weight")[
            "layer.weight"
        ]
        bias: Any = self.base.bias
        if bias is not None:  # a copy: bitsandbytes casts it where it lies
            self.twin.bias.data = bias.detach().clone()
        self.twin.train(self.base.training)

    def empty(self) -> None:
        """The twin holds nothing any more."""
        self.base.train(self.twin.training)
        self.twin._parameters["weight"] = self.blank
        if "state" in self.twin.__dict__:
            self.twin.state.reset_grads()
        else:
            self.twin.quant_state = None


class _Holder(nn.Module):
    """The root of a tree of one layer, which transformers' conversion looks a weight up in."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def get_parameter_or_buffer(self, target: str) -> Any:
        """As `PreTrainedModel` has it."""
        return self.get_parameter(target)


def twin_of(path: str, base: nn.Module, quantizer: HfQuantizer) -> QuantizedLayer:
    """The layer at `path` of a model with a twin that holds nothing yet."""
    from transformers.integrations import replace_with_bnb_linear

    from nbpeft.precision.trap import keep_trainable

    holder = _Holder(base)
    replace_with_bnb_linear(holder, [], quantizer.quantization_config, pre_quantized=False)
    twin: Any = holder.layer
    if base.bias is not None:
        twin.bias = nn.Parameter(torch.empty(0), requires_grad=False)
    keep_trainable(twin)
    return QuantizedLayer(path, base, twin, twin.weight)
