"""Which base a model is: the same for the same weights loaded again, another for any other."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, MutableMapping
from typing import TYPE_CHECKING

from nbpeft.precision.trap import as_loaded, packed_state

if TYPE_CHECKING:
    import torch
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
    digest = hashlib.sha256()
    config = {k: v for k, v in root.config.to_dict().items() if k not in IGNORED}  # type: ignore[union-attr,operator]
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    parameters = list(root.named_parameters())
    for name, parameter in parameters:
        digest.update(f"{name}:{_shape(parameter)}:{parameter.dtype}".encode())
    stride = max(1, len(parameters) // SAMPLED_TENSORS)
    for _, parameter in parameters[::stride]:
        if not parameter.is_meta:  # a shape without weights: good for counting
            digest.update(_sample(parameter))
    return digest.hexdigest()[:16]


def values_of(parameters: Iterable[torch.Tensor]) -> str:
    """Hash of a sample of each, 256 values of it: what training changes; 16 hex digits."""
    digest = hashlib.sha256()
    for parameter in parameters:
        digest.update(_sample(parameter))
    return digest.hexdigest()[:16]


@functools.cache
def _samples() -> MutableMapping[torch.Tensor, tuple[int, bytes]]:
    """Of packed 4-bit weights, which take long to unpack: where they lay, and the sample."""
    from torch.utils.weak import WeakIdKeyDictionary

    return WeakIdKeyDictionary()


def _shape(parameter: torch.Tensor) -> tuple[int, ...]:
    state = packed_state(parameter)
    return tuple(parameter.shape if state is None else state.original_qshape)


def _sample(parameter: torch.Tensor) -> bytes:
    if packed_state(parameter) is None:
        return _values(parameter.detach())
    place, sample = _samples().get(parameter, (0, b""))
    if place != parameter.data_ptr():
        sample = _values(as_loaded(parameter))
        _samples()[parameter] = parameter.data_ptr(), sample
    return sample


def _values(weight: torch.Tensor) -> bytes:
    import torch

    # bitsandbytes' parameters would quantize what is made of them once more.
    flat = weight.as_subclass(torch.Tensor).reshape(-1)
    step = max(1, flat.numel() // SAMPLED_VALUES)
    values = flat[::step].to("cpu", torch.float32).contiguous()
    return values.numpy().tobytes()
