"""Other layers in a model's tree for a while: merged ones, and their quantized twins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from nbpeft.errors import ModelError
from nbpeft.precision.layers import quantizable, quantizer_for, twin_of
from nbpeft.precision.marks import Marks
from nbpeft.precision.originals import on_host
from nbpeft.request import Quantize


class Tree:
    """A model whose layers are replaced one by one; `Tree.of` puts all of them back."""

    def __init__(self, root: nn.Module, quantize: Quantize | None) -> None:
        self._root = root
        self._before: list[tuple[nn.Module, str, nn.Module | None]] = []
        self._quantizer = None if quantize is None else quantizer_for(root, quantize)
        self._device = next(root.parameters()).device
        self._away = not on_host(root)
        self._own = {id(p) for p in root.parameters()}
        self._marks: Marks | None = None

    @classmethod
    @contextlib.contextmanager
    def of(cls, root: nn.Module, quantize: Quantize | None = None) -> Iterator[Tree]:
        """The bare root's tree, which is as before afterwards.

        Args:
            quantize: what linear layers become that are put in, and by `quantize_rest` the others.
        """
        tree = cls(root, quantize)
        try:
            yield tree
        finally:
            tree._take_out()

    def put(self, path: str, module: nn.Module) -> None:
        """Let a module stand at a path from now on.

        It waits in host memory when the model is elsewhere, and goes there for each call only: a
        second copy of the model's weights would seldom fit. Quantized ones stay.
        """
        self._put(path, module)
        if self._quantizer is not None:
            self.quantize_rest(path)
        elif self._away and not any(id(p) in self._own for p in module.parameters()):
            _visits(module, self._device)

    def quantize_rest(self, within: str = "") -> None:
        """Put a quantized twin in place of every linear layer that has none yet."""
        if self._quantizer is None:
            return
        for path, layer in list(quantizable(self._root)):
            if not within or f"{path}.".startswith(f"{within}."):
                twin = twin_of(path, layer, self._quantizer)
                with torch.no_grad():
                    twin.fill(self._quantizer)
                self._put(path, twin.twin)

    def mark(self) -> None:
        """Set what transformers sets on a quantized model, as far as this one is."""
        if self._quantizer is not None:
            self._marks = Marks(self._root, self._quantizer)

    def untie(self) -> None:
        """Where input and output embeddings aren't one weight any more, the config must say so.

        ModelError where it can't: T5's always ties them.
        """
        config = self._root.config
        if not config.tie_word_embeddings:  # type: ignore[union-attr]
            return
        ends = self._root.get_input_embeddings(), self._root.get_output_embeddings()  # type: ignore[operator]
        if None in ends or ends[0].weight is ends[1].weight:
            return
        if config.is_encoder_decoder:  # type: ignore[union-attr]
            raise ModelError(
                "The adapter changes the embeddings or the output weights, which are one in "
                f"{type(self._root).__name__}, so that it can't be merged; attach it."
            )
        config.tie_word_embeddings = False  # type: ignore[union-attr]

    def _put(self, path: str, module: nn.Module) -> None:
        parent, _, child = path.rpartition(".")
        owner = self._root.get_submodule(parent)
        self._before.append((owner, child, owner._modules[child]))
        owner._modules[child] = module

    def _take_out(self) -> None:
        if self._marks is not None:
            self._marks.take_off()
        for owner, child, module in reversed(self._before):
            owner._modules[child] = module


def _visits(module: nn.Module, device: torch.device) -> None:
    """A module that is in host memory, but while it is called."""

    def come(called: nn.Module, _inputs: object) -> None:
        called.to(device)

    def go(called: nn.Module, _inputs: object, _output: object) -> None:
        called.to("cpu")

    module.to("cpu")
    module.register_forward_pre_hook(come)
    module.register_forward_hook(go)
