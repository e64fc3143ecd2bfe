"""The memory that an object leads to: storages of tensors and data of arrays.

Python's own references are followed (`gc.get_referents`), and what autograd keeps for a backward
pass, which Python doesn't see: one loss in a list keeps every activation of its step.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

MOST_OBJECTS = 2_000_000
"""Of one holder: rows as Python objects may be many more, and hold no tensor."""

_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType)


@dataclass(frozen=True)
class Block:
    """A piece of memory in which tensors or arrays lie."""

    size: int
    """Bytes."""
    device: str
    """'cpu', 'cuda:0'; arrays lie on 'cpu'."""


Blocks = dict[int, Block]
"""By what identifies the piece, so that views of it count once."""


def blocks(start: Iterable[object], beyond: Container[int]) -> Blocks:
    """All that these objects lead to.

    Args:
        beyond: ids of objects that aren't followed: a namespace, the shell.
    """
    import torch

    found: Blocks = {}
    seen: set[int] = set()
    waiting: list[Any] = list(start)
    while waiting and len(seen) < MOST_OBJECTS:
        value = waiting.pop()
        if id(value) in seen or id(value) in beyond or isinstance(value, _PLAIN):
            continue
        seen.add(id(value))
        if issubclass(type(value), torch.Tensor):  # not isinstance: proxies answer for others
            found |= _of_tensor(value)
            waiting += _beside(value)
        elif _is_array(value):
            found |= _of_array(value)
        if gc.is_tracked(value):
            waiting += gc.get_referents(value)
    return found


def every_tensor() -> Blocks:
    """Of all tensors that Python knows of, whoever holds them."""
    import torch

    found: Blocks = {}
    for value in gc.get_objects():
        if issubclass(type(value), torch.Tensor):
            found |= _of_tensor(value)
    return found


def _of_tensor(tensor: Any) -> Blocks:
    """Its storage; nothing of tensors that have none (meta, sparse, wrappers)."""
    try:
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return {}
    if storage.device.type == "meta" or not storage.nbytes():
        return {}
    return {storage._cdata: Block(storage.nbytes(), str(storage.device))}


def _beside(tensor: Any) -> Iterator[Any]:
    """What only torch knows that a tensor keeps: its gradient and the graph of a backward pass."""
    if tensor.is_leaf:
        if tensor.grad is not None:
            yield tensor.grad
        return
    nodes, seen = [tensor.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
        yield from _saved(node)


def _saved(node: Any) -> Iterator[Any]:
    """The tensors that a step of the graph needs for its gradient."""
    for name in dir(node):
        if name.startswith("_saved_") or name in ("variable", "saved_tensors"):
            try:
                value = getattr(node, name)
            except RuntimeError:  # freed by a backward pass
                return
            yield from value if isinstance(value, tuple) else (value,)


def _is_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(type(value), numpy.ndarray)


def _of_array(array: Any) -> Blocks:
    """Its own data, or that of the array that it is a view of; none where that is a tensor's."""
    while _is_array(array.base):
        array = array.base
    if not array.flags.owndata or not array.nbytes:
        return {}
    return {id(array): Block(array.nbytes, "cpu")}
