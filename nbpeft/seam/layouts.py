"""What attention over packed rows is told: how the rows lie, and what a model asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Keys:
    """What the rows see, where some see tokens of another before their own."""

    lengths: tuple[int, ...]
    """How many tokens each row sees."""
    places: torch.Tensor
    """Where these stand in the sequence, row by row."""
    ends: torch.Tensor | None = None
    """As `Layout` has them, of the keys."""


@dataclass(frozen=True)
class Layout:
    """How the rows of the sequence at hand lie."""

    lengths: tuple[int, ...]
    ends: torch.Tensor | None = None
    """Of CUDA's kernel: 0 and the end of each row, (rows + 1) int32."""
    keys: Keys | None = None
    """None where each row sees its own tokens only."""
    prefix: int = 0
    """Tokens before the sequence, of a cache, that all rows see beside."""

    @property
    def key_lengths(self) -> tuple[int, ...]:
        """How many tokens each row sees."""
        return self.lengths if self.keys is None else self.keys.lengths

    @property
    def key_ends(self) -> torch.Tensor | None:
        """As `ends`, of what is seen."""
        return self.ends if self.keys is None else self.keys.ends


@dataclass(frozen=True)
class Asked:
    """What a model asks of its attention."""

    scale: float
    window: int | None
    softcap: float | None
    sinks: torch.Tensor | None
    dropout: float
