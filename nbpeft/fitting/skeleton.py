"""A model without its weights: the same modules, shapes, dtypes and quantization, no values.

First on the meta device, where an adapter is mounted as on the model itself; then as fake tensors,
which know the device that they stand for, so that torch takes the kernels and the autocast of that
device (attention on a CPU is another kernel than on CUDA, and holds other things).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nbpeft.precision import AS_LOADED

if TYPE_CHECKING:
    from torch._subclasses.fake_tensor import FakeTensorMode

DEPTH = 4
"""How deep tensors are looked for in what a module holds: a quantized weight's scales' scales."""


@contextlib.contextmanager
def skeleton(root: nn.Module, state: str = AS_LOADED) -> Iterator[nn.Module]:
    """A copy of the bare `root` on the meta device; nothing of the original is touched.

    Args:
        state: the precision to give it; a base that has one already keeps it.
    """
    memo: dict[int, Any] = {}
    quantizer = None
    if state != AS_LOADED and not _is_quantized(root):
        from nbpeft.fitting.quantized import shapes_of
        from nbpeft.precision.layers import quantizer_for

        quantizer = quantizer_for(root, state)  # type: ignore[arg-type]
        memo |= shapes_of(root, state, quantizer)  # type: ignore[arg-type]
    for tensor in _tensors_of(root):
        if id(tensor) not in memo:
            memo[id(tensor)] = _on_meta(tensor, memo)
    copied = copy.deepcopy(root, memo)
    if quantizer is None:
        yield copied
        return
    from nbpeft.precision.marks import Marks

    marks = Marks(copied, quantizer)
    try:
        yield copied
    finally:
        marks.take_off()


def bytes_of(*models: nn.Module) -> dict[int, int]:
    """What models hold: id of a tensor -> bytes, tied ones and views of one storage once."""
    found: dict[int, tuple[int, int]] = {}
    for model in models:
        for tensor in _tensors_of(model):
            storage = tensor.untyped_storage()
            found.setdefault(storage._cdata, (id(tensor), storage.nbytes()))
    return dict(found.values())


def as_fakes(model: nn.Module, mode: FakeTensorMode, device: torch.device) -> None:
    """Fake tensors of that device in place of a skeleton's meta tensors."""
    made: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:  # both are kept: an id is free again once its tensor is gone
            made[id(tensor)] = tensor, _fake(tensor, mode, device, fake)
        return made[id(tensor)][1]

    for module in model.modules():
        for held in (module._parameters, module._buffers, module.__dict__):
            for name, value in list(held.items()):
                if name not in ("_parameters", "_buffers", "_modules"):
                    held[name] = _replaced(value, fake, DEPTH)


def _fake(tensor: torch.Tensor, mode: FakeTensorMode, device: torch.device, fake: Any) -> Any:
    if not tensor.is_meta:
        return tensor
    if (
        not tensor.is_floating_point()
        and "quant_state" not in tensor.__dict__
        and not (isinstance(tensor, nn.Parameter) or tensor.dtype == torch.int8)
    ):
        # Positions and token ids: a model's masks and shapes may follow from their values.
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
    with mode:
        made: Any = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device
        )
    if isinstance(tensor, nn.Parameter):
        made = nn.Parameter(made, requires_grad=tensor.requires_grad)
    kind = type(tensor)
    if kind.__name__ in ("Params4bit", "Int8Params"):  # PEFT knows them by that name
        made.__class__ = type(kind.__name__, (type(made),), {})
    for name, value in tensor.__dict__.items():
        if not name.startswith("_"):
            made.__dict__[name] = _replaced(value, fake, DEPTH)
    return made


def _replaced(value: Any, fake: Any, depth: int) -> Any:
    """A value with its tensors replaced; containers in place."""
    if isinstance(value, torch.Tensor):
        return fake(value)
    if depth and isinstance(value, dict):
        for key in value:
            value[key] = _replaced(value[key], fake, depth - 1)
    elif depth and type(value) is list:
        value[:] = [_replaced(item, fake, depth - 1) for item in value]
    elif depth and _is_state(value):
        for name, item in vars(value).items():
            vars(value)[name] = _replaced(item, fake, depth - 1)
    return value


def _is_quantized(root: nn.Module) -> bool:
    return "quantization_config" in root.config.__dict__  # type: ignore[union-attr,operator]


def _is_state(value: object) -> bool:
    """Whether this is bitsandbytes' note of how a weight is quantized."""
    return type(value).__name__ in ("QuantState", "MatmulLtState")


def _tensors_of(model: nn.Module) -> Iterator[torch.Tensor]:
    for module in model.modules():
        for held in (module._parameters, module._buffers, module.__dict__):
            for name, value in held.items():
                if name not in ("_parameters", "_buffers", "_modules"):
                    yield from _tensors_in(value, DEPTH)


def _tensors_in(value: Any, depth: int) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
        inside: Any = [v for v in value.__dict__.values() if _is_state(v)]
    elif isinstance(value, dict):
        inside = list(value.values())
    elif isinstance(value, list | tuple):
        inside = value
    elif _is_state(value):
        inside = vars(value).values()
    else:
        return
    for item in inside if depth else ():
        yield from _tensors_in(item, depth - 1)


def _on_meta(tensor: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
    """A tensor of the same class and shape without values."""
    made: Any = tensor.detach().to("meta")
    if isinstance(tensor, nn.Parameter):
        made = torch.Tensor._make_subclass(type(tensor), made, tensor.requires_grad)
        for name, value in tensor.__dict__.items():
            made.__dict__[name] = copy.deepcopy(value, memo) if _is_state(value) else value
    return made
