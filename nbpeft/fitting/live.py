"""Counting what is alive: bytes of the storages that tensors come to while code runs.

A storage is counted from the operation that makes it to the moment when the last tensor over it,
and the last thing that autograd keeps of it, is gone. Operations on fake tensors allocate nothing
and are counted all the same. Small tensors of whole numbers (token ids, masks, positions) are real:
what a model does often follows from their values.
"""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from nbpeft.fitting.heap import Heap

CUDA_GRAIN = 512
"""Bytes that CUDA's caching allocator rounds up to."""

HIDDEN = {
    # bitsandbytes brings a 4-bit weight to the input's precision inside of the operation.
    "bitsandbytes::gemm_4bit": lambda args: args[2][0] * args[2][1] * args[0].element_size(),
}
"""Bytes that an operation takes for itself, beside what it gives back."""


BLANK = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.new_empty.default,
}
"""What makes a storage without writing to it."""


@dataclass(frozen=True)
class Peak:
    """The most that was taken at once, in bytes, and what was alive then."""

    total: int = 0
    kinds: Counter[str] | None = None


@dataclass
class _Storage:
    reference: weakref.ref[Any]
    kind: str
    size: int
    room: int
    """Bytes that it may come to: memory of a CPU is taken by what is written, not by a request."""
    start: int | None = None
    """Where it lies in the heap."""


class Live(TorchDispatchMode):
    """While entered, every storage that an operation makes is counted until it is freed.

    Args:
        heap: how a CPU's blocks are laid out; None for a GPU.
    """

    def __init__(self, mode: FakeTensorMode, heap: Heap | None) -> None:
        super().__init__()
        self._mode = mode
        self._heap = heap
        self._storages: dict[int, _Storage] = {}
        self._apart = 0
        """Bytes alive outside of the heap."""
        self._noted = False
        """Whether autograd keeps something of the operation that is under way."""
        self.kinds: Counter[str] = Counter()
        """Bytes alive, by what they are."""
        self.alive = 0
        self.peak = Peak()

    @property
    def taken(self) -> int:
        """Bytes taken from the system for what is alive."""
        return self._apart + (self._heap.end if self._heap else 0)

    def count_all(self, model: nn.Module) -> None:
        """Count what a model's modules hold: it was there before."""
        for tensor in (*model.parameters(), *model.buffers()):
            self._new(tensor.untyped_storage(), tensor, "static", blank=False, heap=None)

    def count(self, tensor: torch.Tensor, *, blank: bool = False) -> None:
        """Count a tensor's storage, unless it is already; of a blank one, what is used of it."""
        storage = tensor.untyped_storage()
        known = self._storages.get(storage._cdata)
        if known is None:
            self._new(storage, tensor, "other", blank=blank, heap=self._heap)
        elif known.size < known.room and not blank:
            self._grow(known, min(known.room, tensor.numel() * tensor.element_size()))

    def name(self, tensor: torch.Tensor, kind: str) -> None:
        """Say what a counted tensor is."""
        known = self._storages.get(tensor.untyped_storage()._cdata)
        if known is not None:
            self.kinds[known.kind] -= known.size
            self.kinds[kind] += known.size
            known.kind = kind

    def backward_is_done(self) -> None:
        """Autograd's own small things are gone."""
        if self._heap is not None:
            self._heap.free_slivers()

    def forget_peak(self) -> None:
        """The next peak is that from here on."""
        self.peak = Peak(self.taken, self.kinds.copy())

    def _new(
        self, storage: Any, tensor: torch.Tensor, kind: str, *, blank: bool, heap: Any
    ) -> None:
        key, room = storage._cdata, storage.nbytes()
        if tensor.device.type == "cuda":
            blank, room = False, -(-room // CUDA_GRAIN) * CUDA_GRAIN
        reference = weakref.ref(storage, lambda _: self._freed(key))
        known = self._storages[key] = _Storage(reference, kind, 0, room)
        if heap is not None and room and not blank:
            known.start = heap.make(room, noted=self._noted)
        self._grow(known, 0 if blank else room)

    def _grow(self, known: _Storage, size: int) -> None:
        more = size - known.size
        if more > 0:
            known.size = size
            self.kinds[known.kind] += more
            self.alive += more
            self._apart += more if known.start is None else 0
            self._note(0)

    def _freed(self, key: int) -> None:
        known = self._storages.pop(key)
        self.kinds[known.kind] -= known.size
        self.alive -= known.size
        if known.start is None:
            self._apart -= known.size
        else:
            assert self._heap is not None
            self._heap.free(known.start, known.room)

    def _note(self, hidden: int) -> None:
        if self.taken + hidden > self.peak.total:
            self.peak = Peak(self.taken + hidden, self.kinds.copy())

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return args[0].fake_device if isinstance(args[0], FakeTensor) else args[0].device
        result = self._result(func, args, kwargs)
        self._noted = _is_noted(args)
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                self.count(value, blank=func in BLANK)
        hidden = HIDDEN.get(func._schema.name)
        if hidden:
            self._note(hidden(args))
        return result

    def _result(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensors = [v for v in tree_iter((args, kwargs)) if isinstance(v, torch.Tensor)]
        if any(isinstance(tensor, FakeTensor) for tensor in tensors):
            stand_in = STAND_INS.get(func._schema.name)
            if stand_in is None:
                return func(*args, **kwargs)
            with self:  # what it makes is counted, too
                return stand_in(*args, **kwargs)
        if not tensors and (kwargs.get("dtype") or torch.get_default_dtype()).is_floating_point:
            with self._mode:
                return func(*args, **kwargs)
        return func(*args, **kwargs)


def _is_noted(arguments: Any) -> bool:
    """Whether autograd makes a node for an operation that stays until the backward pass is done.

    What is computed again within a backward pass (checkpointing) is soon let go of.
    """
    if torch._C._current_graph_task_id() != -1:
        return False
    return any(isinstance(v, torch.Tensor) and v.requires_grad for v in tree_iter(arguments))


def _number(tensor: torch.Tensor) -> Any:
    """A value where there is none: false, 0; a training loop goes on with either."""
    if tensor.dtype == torch.bool:
        return False
    return 0.0 if tensor.is_floating_point() else 0


def _eight_bits(a: torch.Tensor, threshold: float = 0.0) -> tuple[torch.Tensor, ...]:
    """Bitsandbytes' int8 of a row, as if no column stood out; on a CPU what it makes on the way."""
    outliers = a.new_empty(0, dtype=torch.int64) if threshold else None
    if a.device.type == "cuda":
        scales = a.new_empty(a.numel() // a.shape[-1], dtype=torch.float32)
        made = a.new_empty(a.shape, dtype=torch.int8)
    else:
        standing_out = a.abs() >= threshold
        scales = a.abs().amax(-1).float()
        made = torch.round(a * (127.0 / scales.unsqueeze(-1))).to(torch.int8)
        del standing_out
    return made, scales, outliers  # type: ignore[return-value]


def _eight_bit_product(
    a: torch.Tensor, _ca: torch.Tensor, cb: torch.Tensor, rows: torch.Tensor, *_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    product = a.new_empty(*a.shape[:-1], cb.shape[0], dtype=torch.int32)
    if a.device.type == "cuda":
        return a.new_empty(product.shape), a.new_empty(0)
    scales = rows.reshape(-1, 1) * rows.new_empty(1, cb.shape[0])
    return (product.reshape(scales.shape) * scales * 0.5).to(a.dtype), a.new_empty(0)


STAND_INS: dict[str, Any] = {
    "bitsandbytes::int8_mixed_scaled_mm": _eight_bit_product,
    "aten::_local_scalar_dense": _number,
    "bitsandbytes::int8_vectorwise_quant": _eight_bits,
}
"""What to do where a value is asked for that a fake tensor doesn't have."""
