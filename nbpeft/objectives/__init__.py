"""From what signal: one entry an objective, found by its name.

An objective is a seam of three parts: rows (what a data set becomes), batch (how rows are put
together) and loss (what is minimised). To add one, write one file here that calls
`objectives.add(...)`; see CONTRIBUTING.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import Architecture
from nbpeft.registry import Registry
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from nbpeft.data import Mix, Rows, Source
    from nbpeft.data.signals import Signal
    from nbpeft.feedback import Surroundings
    from nbpeft.mounts import Outputs


Reference = Callable[[], AbstractContextManager[Any]]
"""`with reference() as model:` the policy as it was at the run's start answers, in eval mode."""


@dataclass(frozen=True)
class Measure:
    """One thing that an objective measures beside its loss."""

    key: str
    """What the trainer logs it as; of held-out rows with `eval_` before it."""
    name: str
    """In a word or two, for people: 'accuracy'."""
    share: bool = False
    """Whether it is a part of 1."""


@dataclass(frozen=True)
class Shown:
    """What an objective shows of its findings when a run is over."""

    rows: tuple[tuple[str, str], ...] = ()
    """Of the closing table: what, value."""
    picture: bytes | None = None
    """A PNG."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A signal to learn from. Subclasses fill the seam."""

    name: str
    summary: str
    paper: str = ""
    """Authors, year and arXiv number, where one paper is its source."""
    gives: frozenset[str]
    """Capability words of its forward: 'causal logits', 'pooled features'."""
    reads: frozenset[Architecture] = frozenset({"decoder"})
    """The kinds of model that it trains."""
    learning_rate_factor: float = 1.0
    """On the method's learning rate."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the trainer's config that differ from the library's defaults."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """nbpeft's word -> the field of the trainer's config."""
    reserved: frozenset[str] = frozenset()
    """Fields of the trainer's config that nbpeft sets itself."""
    takes: frozenset[str] = frozenset()
    """Options of a request that only some objectives act on: 'reward', 'judge'."""
    nothing: str = ""
    """Why a step may have no gradient at all, and what to do about a run of them; '' where each
    step must have one."""
    signal: str = "answers"
    """In `nbpeft.data.signals.SIGNALS`: what `rows` reads, as a look before the run shows it."""
    unit: str = ""
    """Of the loss: 'nats per token'; '' where it has none."""
    measures: tuple[Measure, ...] = ()
    """What is shown and kept beside the loss, the most telling first."""

    def on(self, architecture: Architecture) -> Objective:
        """This objective as such a model is trained by it: itself, unless its seam differs."""
        return self

    def bound(self, around: Surroundings) -> Objective:
        """This objective with what the request names of the kernel (rewards, a judge): itself,
        unless it takes such. RequestError where one isn't there.
        """
        return self

    def config_class(self) -> type[Any]:
        """The trainer's config, whose fields may be set from a body."""
        raise NotImplementedError

    def trainer_class(self) -> type[Any]:
        """The trainer: a subclass of transformers' Trainer, whose `compute_loss` is the loss."""
        raise NotImplementedError

    def check(self, arguments: Any) -> None:
        """Refuse a trainer's config that its class takes and the loss doesn't; RequestError."""

    def reading(self, loss_on: LossOn) -> Signal:
        """What rows are read as; `loss_on` says which tokens of answers carry labels."""
        from nbpeft.data.signals import signal_of

        return signal_of(self.signal, loss_on=loss_on, apart=False)

    def rows(
        self,
        source: Source | Mix,
        tokenizer: Any,
        *,
        columns: Mapping[str, str] | None,
        eval: float | Source | Mix | None,
        max_length: int,
        loss_on: LossOn,
    ) -> Rows:
        """Rows as found -> rows ready for batches. DataError names row and column."""
        from nbpeft.data.prepare import prepare

        rows = prepare(
            self.reading(loss_on),
            source,
            tokenizer,
            columns=columns,
            eval=eval,
            max_length=max_length,
        )
        return self.accepted(rows, tokenizer)

    def accepted(self, rows: Rows, tokenizer: Any) -> Rows:
        """Rows as they were read, with what the plan is to say of them beside.

        Raises:
            DataError, RequestError: they can't be learned from.
        """
        return rows

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """The collator: rows -> batch."""
        raise NotImplementedError

    def quicken(self, trainer: Any, settings: Mapping[str, Any]) -> str:
        """Let a trainer of `trainer_class` go the fastest way that comes to the same losses.

        Args:
            trainer: made and not yet started; the adapter is in its model.
            settings: the fields of its config that were set.

        Returns:
            What slows the run down, in plain words, where a user would wonder; ''.
        """
        return ""

    def outputs(self, rows: Rows) -> Outputs | None:
        """What the head gives that is trained with the adapter; None where none is."""
        return None

    def findings(self, trainer: Any) -> Mapping[str, Any]:
        """What a run found beside its figures, ready for JSON; kept in its record."""
        return {}

    def shown(self, findings: Mapping[str, Any], title: str) -> Shown:
        """How that is shown.

        Args:
            title: of a picture.
        """
        return Shown()

    def begin(self, trainer: Any, reference: Reference) -> None:
        """Called before the first step, with all in place that makes the run fast.

        Args:
            reference: makes the model answer as the policy at the run's start: the base, or the
                adapter that the run goes on from. Never within a forward that is to be gone back
                through.
        """


objectives: Registry[Objective] = Registry("objective", "nbpeft.objectives")
