"""What a run tells those who look on. A run emits; views listen; neither knows the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nbpeft.plan import Plan


@dataclass(frozen=True)
class Figure:
    """One thing that an objective measures beside its loss."""

    name: str
    """In a word or two: 'accuracy', 'reward margin'."""
    value: float
    share: bool = False
    """Whether it is a part of 1, and shown in per cent."""


@dataclass(frozen=True)
class Planned:
    """The plan stands; nothing has been changed yet."""

    plan: Plan
    dry_run: bool = False


@dataclass(frozen=True)
class Noted:
    """One plain line that the user should read."""

    text: str


@dataclass(frozen=True)
class Started:
    """Training begins: `steps` optimizer steps in all (0: not known yet), `done` of them in an
    earlier part.
    """

    name: str
    steps: int
    done: int = 0
    unit: str = ""
    """Of the losses: 'nats per token'; '' where they have none."""
    run: str = ""
    """Names the run to `nbpeft.stop.ask`; '' where it can't be asked."""


@dataclass(frozen=True)
class Progressed:
    """One optimizer step is done. `loss` is the mean over the trained tokens since the last one."""

    step: int
    steps: int
    """In all; 0 while that isn't known."""
    loss: float
    learning_rate: float
    seconds: float
    """Since training began."""
    tokens: int
    """Tokens seen since training began, padding not counted."""
    tokens_per_second: float = 0.0
    """Over the time spent on steps: evaluations and samples are left out; 0 where not known."""
    memory: int = 0
    """Bytes held by tensors on the model's GPU, else by this process; 0 where not read."""
    peak_memory: int = 0
    """The most of it since training began."""
    figures: tuple[Figure, ...] = ()
    """Of this step's rows, as the objective measures them."""


@dataclass(frozen=True)
class Evaluated:
    """The held-out rows were read through: mean loss a trained token, nats."""

    step: int
    loss: float
    figures: tuple[Figure, ...] = ()
    """Of the held-out rows, as the objective measures them."""


@dataclass(frozen=True)
class Sampled:
    """One prompt of the data was answered, greedily, by the adapter as it was after `step`."""

    step: int
    """0 is before training."""
    prompt: str
    text: str


@dataclass(frozen=True)
class Finished:
    """The run is over and the adapter is kept."""

    label: str
    """NAME@VERSION."""
    stopped: bool
    summary: tuple[tuple[str, str], ...]
    """Rows of the closing table: what, value."""
    picture: bytes | None = None
    """A PNG that says more than the table."""


@dataclass(frozen=True)
class Tabled:
    """Figures of several runs, side by side."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """The run ended in an error; the model is as it was."""

    message: str


Event = Planned | Noted | Started | Progressed | Evaluated | Sampled | Finished | Tabled | Failed
Listener = Callable[[Event], None]


@dataclass
class Events:
    """The listeners of one run, told in the order of their coming."""

    listeners: list[Listener] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        """Tell every listener."""
        for listener in self.listeners:
            listener(event)
