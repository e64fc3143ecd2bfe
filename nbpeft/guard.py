"""Everything that training changes around a model is put back, whatever happened.

A trainer leaves behind, ending well or not: requires_grad flags, train mode, use_cache, patched
forwards, stacked hooks, checkpointing attributes, special-token ids in configs, reseeded random
states, Accelerate's singletons and environment variables (transformers#35033, trl#3891, trl#3926).
The guard notes all of it before and restores it after: by reference, not by copy, so that a model
of any size is guarded in milliseconds. What training would write *into* base weights is not the
guard's: a mount gives such weights copies of their own, and the guard checks that it did.
"""

from __future__ import annotations

import contextlib
import copy
import operator
import os
import random
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nbpeft.beside import beside
from nbpeft.errors import RunError

if TYPE_CHECKING:
    import torch
    from torch import nn

Containers = (dict, list, set)


class Guard:
    """Context manager: on leaving, the model, tokenizer and process state are as on entering.

    Parameters: `models`, the modules to guard with all that is below them (the user's model, and a
    PeftModel that they made around it); `tokenizer`, any tokenizer or None; `writable`, parameters
    that may be written meanwhile (an adapter's own); `random`, whether the random states are put
    back too: a background run shares them with the user's cells, and leaves them as they are.
    Raises RunError on leaving when a base weight was written in place.
    """

    def __init__(
        self,
        *models: nn.Module,
        tokenizer: Any = None,
        writable: Sequence[torch.Tensor] = (),
        random: bool = True,
    ) -> None:
        self._puts_random_back = random
        self._models = models
        self._writable = {id(tensor) for tensor in writable}
        self._tokenizer = tokenizer

    def __enter__(self) -> Self:
        modules = {id(m): m for model in self._models for m in model.modules()}
        self._objects = [_Attributes(module) for module in modules.values()]
        self._objects += [_Attributes(config) for config in configs_of(modules.values())]
        self._tensors = [_Tensor(*item) for item in _tensors(modules.values())]
        if self._tokenizer is not None:
            self._objects.append(_Attributes(self._tokenizer))
            self._backend = _backend_state(self._tokenizer)
        self._random = random_state()
        self._process = _ProcessState()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for noted in self._objects:
            noted.restore()
        written = [
            noted.name
            for noted in self._tensors
            if noted.restore() and id(noted.tensor) not in self._writable
        ]
        if self._tokenizer is not None:
            _restore_backend(self._tokenizer, self._backend)
        self._process.restore()
        if self._puts_random_back:
            restore_random_state(self._random)
        if written and error is None:
            raise RunError(
                f"Training wrote into the base model's own weights ({written[0]}, {len(written)} "
                "in all), which this method should not do; load the model again before going on."
            )

    def tree(self) -> dict[int, dict[str, nn.Module]]:
        """The children of every module as they were on entering: id(module) -> {name: child}."""
        return {
            id(noted.owner): noted.contents["_modules"]
            for noted in self._objects
            if "_modules" in noted.contents
        }

    def tensor_ids(self) -> set[int]:
        """The ids of the guarded parameters and buffers."""
        return {id(noted.tensor) for noted in self._tensors}


class _Attributes:
    """An object's `__dict__`, and what its containers hold."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.attributes = dict(owner.__dict__)
        self.contents: dict[str, Any] = {
            name: copy.copy(value)
            for name, value in self.attributes.items()
            if isinstance(value, Containers)
        }

    def restore(self) -> None:
        # Never empty in between: another thread may be looking at it.
        now = self.owner.__dict__
        now.update(self.attributes)
        for name in now.keys() - self.attributes.keys():
            del now[name]
        for name, before in self.contents.items():
            container = self.attributes[name]
            if not _same(container, before):
                # Refilled, not replaced: others may hold the same object.
                container.clear()
                add = container.extend if isinstance(container, list) else container.update
                add(before)


def _same(one: Any, other: Any) -> bool:
    """Whether two containers hold the same objects, in the same order."""
    flat = [
        [x for item in c.items() for x in item] if isinstance(c, dict) else c for c in (one, other)
    ]
    return len(one) == len(other) and all(map(operator.is_, *flat))


class _Tensor:
    """A parameter or buffer: where its data lies, its flags, its gradient."""

    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        import torch

        self.name = name
        self.tensor = tensor
        self.data = tensor.data
        self.requires_grad = tensor.requires_grad
        self.grad = tensor.grad if tensor.is_leaf else None
        self.version = tensor._version
        # Buffers (rotary tables, running means) are written by a plain forward too.
        self.is_parameter = isinstance(tensor, torch.nn.Parameter)

    def restore(self) -> bool:
        """Put it back; True when the data was written in place meanwhile."""
        written = self.is_parameter and self.tensor._version != self.version
        if self.tensor.data_ptr() != self.data.data_ptr():
            self.tensor.data = self.data
        if self.tensor.is_leaf:
            self.tensor.requires_grad_(self.requires_grad)
            self.tensor.grad = self.grad
        return written


def _tensors(modules: Any) -> Iterator[tuple[str, torch.Tensor]]:
    seen: set[int] = set()
    for module in modules:
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{type(module).__name__}.{name}", tensor


def configs_of(modules: Any) -> list[Any]:
    """The config objects that hang on the modules, and those inside them, each once."""
    from transformers import GenerationConfig, PretrainedConfig

    kinds = (PretrainedConfig, GenerationConfig)
    found: dict[int, Any] = {}
    waiting = [value for m in modules for value in m.__dict__.values() if isinstance(value, kinds)]
    while waiting:
        config = waiting.pop()
        if id(config) not in found:
            found[id(config)] = config
            waiting += [v for v in config.__dict__.values() if isinstance(v, kinds)]
    return list(found.values())


def _backend_state(tokenizer: Any) -> Any:
    """Padding and truncation of a fast tokenizer, which live in its Rust backend."""
    if not tokenizer.is_fast:
        return None
    return tokenizer.backend_tokenizer.padding, tokenizer.backend_tokenizer.truncation


def _restore_backend(tokenizer: Any, state: Any) -> None:
    if state is None or state == _backend_state(tokenizer):
        return
    backend, (padding, truncation) = tokenizer.backend_tokenizer, state
    backend.enable_padding(**padding) if padding else backend.no_padding()
    backend.enable_truncation(**truncation) if truncation else backend.no_truncation()


def random_state() -> tuple[Any, ...]:
    """The states of Python's, NumPy's and torch's generators (every CUDA device's too)."""
    import numpy as np
    import torch

    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def restore_random_state(state: tuple[Any, ...]) -> None:
    """Set the generators back to what `random_state` gave."""
    import numpy as np
    import torch

    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])
    if state[3] is not None:
        torch.cuda.set_rng_state_all(state[3])


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Inside, random numbers may be drawn; the states are as before after."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)


ACCELERATES = "ACCELERATE_"
"""What the variables begin with that a trainer leaves in the environment."""


class _ProcessState:
    """Environment variables, Accelerate's singletons and torch's global switches.

    Of a background run only what is its own is put back: of the environment what Accelerate set
    there, and the singletons that its thread has (`nbpeft.background.apart`).
    """

    def __init__(self) -> None:
        import torch
        from accelerate.state import AcceleratorState, GradientState, PartialState

        self._environment = dict(os.environ)
        self._shared = [
            (state._shared_state, dict(state._shared_state))
            for state in (AcceleratorState, GradientState, PartialState)
        ]
        self._grad = torch.is_grad_enabled()
        self._deterministic = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )

    def restore(self) -> None:
        import torch

        alone = beside() is None
        own = "" if alone else ACCELERATES
        for name in set(os.environ) - set(self._environment):
            if name.startswith(own):
                del os.environ[name]
        os.environ.update({n: v for n, v in self._environment.items() if n.startswith(own)})
        for shared, before in self._shared:
            shared.clear()
            shared.update(before)
        torch.set_grad_enabled(self._grad)
        if alone:
            on, warn_only = self._deterministic
            torch.use_deterministic_algorithms(on, warn_only=warn_only)


@contextlib.contextmanager
def process_state_kept() -> Iterator[None]:
    """Inside, the environment and Accelerate's singletons may change; they are put back after."""
    state = _ProcessState()
    try:
        yield
    finally:
        state.restore()
