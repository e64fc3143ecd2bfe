"""Mounts of an adapter with a head beside it: what a reward model or a classifier trains.

The adapter changes the body's features, the head makes scores of them. Only a training has both in
one mount: in use the model answers as the adapter, by the adapter's own mount, and the head is
asked by whoever wants scores. In a folder the head's two files lie beside the adapter's, so that
PEFT still loads the adapter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nbpeft.mounts import Mount, Outputs
from nbpeft.mounts.heads import CONFIG, Head, HeadMount, build, load, pooling_of

PLACE = "pooled_head"
"""The head's name in the model while it is trained."""


@dataclass(eq=False)
class HeadedMount:
    """An adapter's mount and a head; see `nbpeft.mounts.Mount` for the contract."""

    inner: Mount
    head: HeadMount

    @property
    def state(self) -> str:
        """The adapter's."""
        return self.inner.state

    @state.setter
    def state(self, state: str) -> None:
        self.inner.state = self.head.state = state

    @property
    def rebinds(self) -> bool:
        """As the adapter does."""
        return self.inner.rebinds

    @property
    def trainable_parameters(self) -> int:
        """Those of both."""
        return self.inner.trainable_parameters + self.head.trainable_parameters

    @property
    def extra_bytes(self) -> int:
        """Of both."""
        return self.inner.extra_bytes + self.head.extra_bytes

    def attach(self, root: nn.Module) -> None:
        """Put the adapter in; the head's parameters are trainable, too."""
        self.inner.attach(root)
        self.head.put_in(root)
        for parameter in self.head.trainable:
            parameter.requires_grad_(True)

    def detach(self, root: nn.Module) -> None:
        """Take the adapter out."""
        self.inner.detach(root)

    def put_in(self, root: nn.Module) -> None:
        """Pointers in."""
        self.inner.put_in(root)
        self.head.put_in(root)

    def take_out(self, root: nn.Module) -> None:
        """Pointers back."""
        self.inner.take_out(root)

    def model(self, root: nn.Module) -> nn.Module:
        """What answers as the adapter."""
        return self.inner.model(root)

    @contextlib.contextmanager
    def as_peft(self, root: nn.Module) -> Iterator[nn.Module]:
        """The adapter's model to train, in which the head is one more child."""
        with self.inner.as_peft(root) as model:
            model._modules[PLACE] = self.head.head
            try:
                yield model
            finally:
                del model._modules[PLACE]

    def save(self, root: nn.Module, folder: Path) -> None:
        """The files of both."""
        self.inner.save(root, folder)
        self.head.save(root, folder)


def beside(mount: Mount, root: nn.Module, outputs: Outputs) -> HeadedMount:
    """The mount with a fresh head of one layer, from the current random state."""
    return HeadedMount(mount, build(root, config_of(root, outputs)))


def config_of(root: nn.Module, outputs: Outputs) -> dict[str, Any]:
    """How such a head is built."""
    return {
        "labels": outputs.count,
        "names": list(outputs.names),
        "sizes": [],
        "dropout": 0.0,
        "pooling": pooling_of(root),
    }


def joined(mount: Mount, root: nn.Module, folder: Path) -> Mount:
    """The mount with the head that lies in a folder beside its adapter; itself, where none does."""
    if isinstance(mount, HeadMount) or not (folder / CONFIG).is_file():
        return mount
    return HeadedMount(mount, load(root, folder))


def parted(mount: Mount) -> tuple[Mount, HeadMount | None]:
    """The adapter's mount, and the head beside it."""
    if isinstance(mount, HeadedMount):
        return mount.inner, mount.head
    return mount, None


def head_in(model: nn.Module) -> Head:
    """The head in a model that is trained."""
    return next(module for module in model.modules() if isinstance(module, Head))
