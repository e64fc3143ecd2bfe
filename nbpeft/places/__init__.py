"""Where training runs: one entry a place, found by its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nbpeft.events import Events, Sampled
from nbpeft.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from nbpeft.data import Rows
    from nbpeft.methods import Method
    from nbpeft.objectives import Objective, Reference
    from nbpeft.stop import Stop


@dataclass(frozen=True)
class Job:
    """One training, ready to go: the adapter is in the model, the rows are tokenized."""

    name: str
    model: nn.Module
    """What the trainer gets: PEFT's model around the user's."""
    tokenizer: Any
    rows: Rows
    method: Method
    objective: Objective
    settings: dict[str, Any]
    """Fields of the trainer's config."""
    folder: Path
    """For what the trainer writes; thrown away after."""
    events: Events
    stop: Stop
    resume_from: Path | None = None
    """A folder of `Outcome.resume`, from a run that was stopped."""
    budget: float | None = None
    """Seconds that the run may take; its settings' number of steps stays the most."""
    lean: bool = False
    """Whether what makes a run faster for more memory is left out."""
    checkpoint: Callable[[Outcome], None] | None = None
    """Keeps the state that a run has come to (`Outcome.resume`), should the kernel be killed."""
    checkpoint_seconds: float = 0.0
    """How long to wait from one to the next."""
    reference: Reference | None = None
    """Makes the model answer as the policy at the run's start; None where a step is only traced."""
    samples: bool = True
    """Whether a prompt of the data is answered before training and with each evaluation."""


@dataclass
class Outcome:
    """What came of a training; plain values only."""

    steps: int = 0
    steps_planned: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)
    """(step, training loss), nats a trained token."""
    held_out: list[tuple[int, float]] = field(default_factory=list)
    """(step, held-out loss); step 0 is before training."""
    figures: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """By the name of a measure: (step, value over its rows)."""
    held_out_figures: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Likewise, over the held-out rows."""
    findings: dict[str, Any] = field(default_factory=dict)
    """What else the objective found, ready for JSON."""
    samples: list[Sampled] = field(default_factory=list)
    """One prompt's answers, in the order of steps."""
    tokens_per_second: float = 0.0
    """As `Progressed` has it."""
    device: str = ""
    """Where the model lies: 'cpu', 'cuda:0'."""
    peak_memory: int = 0
    """As `Progressed` has it."""
    stopped: bool = False
    resume: Path | None = None
    """Optimizer, schedule and random states of a stopped run; None when it can't go on exactly."""


class Place(Protocol):
    """Somewhere to train."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...

    def train(self, job: Job) -> Outcome:
        """Train; Stop ends it early and is no error."""


places: Registry[Place] = Registry("place", "nbpeft.places")
