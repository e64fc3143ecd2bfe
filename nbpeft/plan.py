"""What a run is going to do, said before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One setting that isn't the library's default."""

    name: str
    value: Any
    origin: str
    """Where it came from: 'line', 'body', 'call', '%config', 'method lora', 'objective sft', …"""


@dataclass(frozen=True)
class Weights:
    """Bytes of a base's weights, adapters apart."""

    as_loaded: int
    quantized: int


@dataclass(frozen=True)
class Memory:
    """Bytes that a run is predicted to take, and what there is."""

    peak: int
    """With the model."""
    held: int
    """Of it, what is in memory before the run: the model."""
    free: int

    @property
    def needed(self) -> int:
        """What the run adds."""
        return max(0, self.peak - self.held)


@dataclass(frozen=True)
class Plan:
    """A run before it starts: settings with their origin, and the figures that they lead to."""

    name: str
    version: int
    method: str
    objective: str
    model: str
    settings: tuple[Setting, ...]
    train_rows: int
    held_out_rows: int
    tokens: int
    """Of one epoch, padding not counted."""
    trained_tokens: int
    """Of one epoch: those with a label."""
    steps: int
    """Optimizer steps in all; 0 where only the budget limits them."""
    trainable_parameters: int
    total_parameters: int
    """Of the base."""
    extra_bytes: int
    """What the adapter and the copies of base weights that it needs take in memory."""
    state: str = "as loaded"
    """The precision of the base that is trained on."""
    weights: Weights | None = None
    """Bytes of the base's weights before and after, where it is quantized."""
    budget: str | None = None
    """The time that the run may take, as it was typed."""
    memory: Memory | None = None
    """What the run is predicted to take; None where that wasn't asked, or can't be said."""
    notes: tuple[str, ...] = ()
    """Plain lines: how the data was read, which template, what was dropped or cut."""

    @property
    def trainable_percent(self) -> float:
        """Trainable parameters in per cent of the base's."""
        return 100 * self.trainable_parameters / max(1, self.total_parameters)
