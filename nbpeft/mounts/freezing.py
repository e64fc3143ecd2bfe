"""The trainable parameters of a model are exactly an adapter's while it is attached."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


class Freezing:
    """Which parameters of a base were trainable before an adapter took their place."""

    def __init__(self) -> None:
        self._frozen: list[nn.Parameter] = []

    def freeze(self, root: nn.Module, but: Iterable[nn.Parameter]) -> None:
        """Nothing of the root is trainable from now on, but these parameters are."""
        self._frozen = [p for p in root.parameters() if p.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        for parameter in but:
            parameter.requires_grad_(True)

    def thaw(self) -> None:
        """The root's flags as they were."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []
