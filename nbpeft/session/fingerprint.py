"""Which base a model is: the same for the same weights loaded again, another for any other."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from nbpeft.precision.trap import unpack

if TYPE_CHECKING:
    from torch import nn

SAMPLED_TENSORS = 64
SAMPLED_VALUES = 256
IGNORED = frozenset(
    {
        "_name_or_path",
        "name_or_path",
        "transformers_version",
        "architectures",
        "torch_dtype",
        "dtype",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "attn_implementation",
        "_attn_implementation",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
    }
)
"""Config entries that say nothing of the weights, or that users set on a loaded model."""


def fingerprint(root: nn.Module) -> str:
    """Hash of the config, all shapes, and a sample of the weights; 16 hex digits.

    Computed on the bare base. 64 tensors spread over the model, 256 values of each, so that it
    takes milliseconds at any size; dtype counts, the device does not.
    """
    import torch

    unpack(root)
    digest = hashlib.sha256()
    config = {k: v for k, v in root.config.to_dict().items() if k not in IGNORED}  # type: ignore[union-attr,operator]
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    parameters = list(root.named_parameters())
    for name, parameter in parameters:
        digest.update(f"{name}:{tuple(parameter.shape)}:{parameter.dtype}".encode())
    stride = max(1, len(parameters) // SAMPLED_TENSORS)
    for _, parameter in parameters[::stride]:
        if parameter.is_meta:  # a shape without weights: good for counting
            continue
        # bitsandbytes' parameters would quantize what is made of them once more.
        flat = parameter.detach().as_subclass(torch.Tensor).reshape(-1)
        step = max(1, flat.numel() // SAMPLED_VALUES)
        values = flat[::step].to("cpu", torch.float32).contiguous()
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]
