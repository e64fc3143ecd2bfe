"""Whether a run fits, and how that looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.plan import Memory
from nbpeft.rendering import Table, bytes_size, count, percent

if TYPE_CHECKING:
    from nbpeft.fitting.remedies import Remedy
    from nbpeft.fitting.trace import Traced

UNNAMED = "fit"
"""The name of a run that is only asked about."""
MARGIN = 0.1
"""Of what a run adds: how far the prediction may be off."""
CLOSE = 0.15
"""Of what is free: less than that is left over."""


@dataclass(frozen=True)
class Fit:
    """What a run takes in memory, and what there is."""

    name: str
    traced: Traced
    held: int
    """Bytes of it that are in memory already: the model."""
    free: int
    device: str
    batch_size: int
    length: int
    """Tokens of the longest row."""
    lean: bool = False
    """Whether it was traced without what only makes it faster, because it doesn't fit with it."""
    remedy: Remedy | None = None
    """The smallest change with which it fits, where it doesn't and there is one."""

    @property
    def subject(self) -> str:
        """What a sentence is about."""
        return "such a run" if self.name == UNNAMED else self.name

    @property
    def needed(self) -> int:
        """Bytes that are added to what is in memory already."""
        return max(0, self.traced.peak - self.held)

    @property
    def fits(self) -> bool:
        """With the margin."""
        return round(self.needed * (1 + MARGIN)) <= self.free

    @property
    def close(self) -> bool:
        """Whether it fits, with little left over."""
        return self.fits and self.needed > (1 - CLOSE) * self.free

    @property
    def memory(self) -> Memory:
        """For the plan."""
        return Memory(self.traced.peak, self.held, self.free)

    @property
    def line(self) -> str:
        """Why it doesn't fit, and what does, in one line."""
        short = self.shortage
        off = "(--fit off tries it all the same)"
        if self.remedy is None:
            return f"{short}; no smaller setting fits either: take a smaller model {off}."
        return (
            f"{short}; type {self.remedy.typed}, which takes {bytes_size(self.remedy.needed)}"
            f"{self.remedy.cost}, or --auto to have that done {off}."
        )

    @property
    def shortage(self) -> str:
        """What it takes, and what there is."""
        where = "" if self.device == "cpu" else f" on {self.device}"
        return (
            f"{self.subject} would take {bytes_size(self.needed)} of memory beside the model, and "
            f"{bytes_size(self.free)} is free{where}"
        )

    def table(self) -> Table:
        """The parts, and the verdict."""
        parts = self.traced
        rows = [
            ("weights", parts.weights, "the base's, as it is trained on"),
            ("adapter", parts.adapter, "what is trained, and copies of base weights"),
            ("gradients", parts.gradients, ""),
            ("optimizer", parts.optimizer, "its state, and what the method keeps"),
            ("copies", parts.copies, "of frozen weights, in a faster precision"),
            ("activations", parts.activations, "kept for the backward pass"),
            ("temporary", parts.temporary, "within one operation, or the loss"),
            ("peak", parts.peak, _where(self)),
            ("there already", self.held, "the model"),
            ("needed", self.needed, f"{percent(100 * self.needed / max(1, self.free))} of free"),
            ("free", self.free, "on this machine" if self.device == "cpu" else f"on {self.device}"),
        ]
        return Table(
            title=f"{self.subject} {self.verdict}",
            header=("", "memory", ""),
            rows=tuple((what, bytes_size(size), note) for what, size, note in rows if size),
            align=("left", "right", "left"),
            notes=() if self.fits else (self.line,),
        )

    @property
    def verdict(self) -> str:
        """'fits', 'fits, with little to spare', 'does not fit'."""
        if not self.fits:
            return "does not fit"
        return "fits, with little to spare" if self.close else "fits"

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def _where(fit: Fit) -> str:
    what = "reading held-out rows" if fit.traced.in_evaluation else "a step"
    return f"in {what} of {count(fit.batch_size)} rows of up to {count(fit.length)} tokens"
