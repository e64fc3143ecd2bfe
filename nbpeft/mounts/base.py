"""What mounts of every kind have in common: what is trainable, and how they are switched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

from nbpeft.precision import AS_LOADED


@dataclass(eq=False)
class BaseMount:
    """A mount that changes nothing but what is trainable; see `nbpeft.mounts.Mount`."""

    state: str = field(default=AS_LOADED, init=False)
    _frozen: list[nn.Parameter] = field(default_factory=list, init=False, repr=False)

    @property
    def rebinds(self) -> bool:
        """Names of the model need not hold another object."""
        return False

    @property
    def trainable(self) -> list[nn.Parameter]:
        """All that is trained while this is attached."""
        raise NotImplementedError

    @property
    def held(self) -> list[nn.Parameter]:
        """All that is kept in memory beside the base: what is trained, and copies."""
        return self.trainable

    @property
    def trainable_parameters(self) -> int:
        """How many values are trained."""
        return sum(p.numel() for p in self.trainable)

    @property
    def extra_bytes(self) -> int:
        """What is kept in memory beside the base."""
        return sum(p.numel() * p.element_size() for p in self.held)

    def attach(self, root: nn.Module) -> None:
        """Put in; what the root could train before is frozen."""
        self._frozen = [p for p in root.parameters() if p.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        self.put_in(root)
        for parameter in self.trainable:
            parameter.requires_grad_(True)

    def detach(self, root: nn.Module) -> None:
        """Take out; the root's flags are as they were."""
        self.take_out(root)
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []

    def put_in(self, root: nn.Module) -> None:
        """Pointers in."""
        raise NotImplementedError

    def take_out(self, root: nn.Module) -> None:
        """Pointers back."""
        raise NotImplementedError

    def model(self, root: nn.Module) -> nn.Module:
        """The root itself, where nothing is around it."""
        return root

    @contextlib.contextmanager
    def as_peft(self, root: nn.Module) -> Iterator[nn.Module]:
        """What answers."""
        yield self.model(root)
