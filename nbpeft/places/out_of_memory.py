"""Memory ran out in a step: the run goes on from its last one, in batches of half the rows.

The fit check foresees a run's memory, but another kernel may take some of the same GPU meanwhile.
What is lost then is the step under way: its gradients are thrown away, what the allocator holds is
given back, and all its batches are gone through again in twice as many parts; so are those of
later steps. A step means the same: its loss is divided by the trained tokens of the whole step.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RunError
from nbpeft.events import Noted
from nbpeft.rendering import count

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nbpeft.events import Events

ROWS = "rows"
"""Where a batch keeps the rows that it is made of."""


@dataclass(frozen=True)
class Kept:
    """Rows as the dataset has them; no list, so that no loader looks for tensors in it."""

    rows: Sequence[dict[str, Any]]

    def parts(self, parts: int) -> list[Sequence[dict[str, Any]]]:
        """As many stretches of about the same number of rows, none empty."""
        total = len(self.rows)
        ends = [total * i // parts for i in range(parts + 1)]
        return [self.rows[a:b] for a, b in itertools.pairwise(ends) if b > a]


@dataclass(frozen=True)
class Keeping:
    """A collator whose batches keep their rows, so that they can be made anew of fewer."""

    collate: Any

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch of the collator."""
        # Some collators take away from the rows that they are given.
        kept = Kept([dict(row) for row in rows])
        return {**self.collate(rows), ROWS: kept}


@dataclass
class _Step:
    """The optimizer step that is under way."""

    number: int = -1
    batches: list[Kept] = field(default_factory=list)
    """Those whose gradients are there."""


class Halving:
    """Before a trainer whose collator is a `Keeping`: see the module's text."""

    parts = 1
    """In how many parts a batch goes."""
    events: Events

    # The trainer's own.
    data_collator: Any
    state: Any
    optimizer: Any
    current_gradient_accumulation_steps: int

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], items: Any = None
    ) -> torch.Tensor:
        """Forward and backward over a batch; returns its loss.

        Args:
            items: trained tokens of the whole optimizer step.

        Raises:
            RunError: memory runs out over a single row.
        """
        kept = inputs.pop(ROWS, None)
        if kept is None:
            return super().training_step(model, inputs, items)  # type: ignore[misc,no-any-return]
        step = self._step()
        loss = self._tried(model, inputs, kept, items)
        while loss is None:
            self._halve(kept)
            model.zero_grad(set_to_none=True)
            again = [self._tried(model, None, before, items) for before in (*step.batches, kept)]
            loss = None if any(one is None for one in again) else again[-1]
        step.batches.append(kept)
        return loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **words: Any
    ) -> Any:
        """A held-out batch, by the loss of its parts."""
        kept = inputs.pop(ROWS, None)
        base: Any = super()
        if kept is None:
            return base.prediction_step(model, inputs, *args, **words)
        while True:
            try:
                if self.parts == 1:
                    return base.prediction_step(model, inputs, *args, **words)
                return self._predicted(base, model, kept, *args, **words)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._halve(kept)

    def _predicted(
        self, base: Any, model: nn.Module, kept: Kept, *args: Any, **words: Any
    ) -> tuple[torch.Tensor, None, None]:
        """Each part's mean loss counts by its trained tokens."""
        loss, total = 0.0, 0
        for rows in kept.parts(self.parts):
            batch = self.data_collator.collate(rows)
            trained = int((batch["labels"] >= 0).sum())
            mean, *_ = base.prediction_step(model, batch, *args, **words)
            loss, total = loss + mean * trained, total + trained
        return loss / max(1, total), None, None  # type: ignore[return-value]

    _under_way: _Step | None = None

    def _step(self) -> _Step:
        number = self.state.global_step
        if self._under_way is None or self._under_way.number != number:
            self._under_way = _Step(number)
        return self._under_way

    def _tried(
        self, model: nn.Module, inputs: dict[str, Any] | None, kept: Kept, items: Any
    ) -> torch.Tensor | None:
        """The loss of a batch, in parts; None where memory ran out.

        The error is gone with the frames that hold the step's activations, once this returns.
        """
        try:
            if self.parts == 1 and inputs is not None:
                return super().training_step(model, inputs, items)  # type: ignore[misc,no-any-return]
            pieces = kept.parts(self.parts)
            with self._accumulating(len(pieces)):
                base: Any = super()
                losses = [
                    base.training_step(model, self.data_collator.collate(rows), items)
                    for rows in pieces
                ]
            return sum(losses)  # type: ignore[return-value]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None

    @contextlib.contextmanager
    def _accumulating(self, pieces: int) -> Iterator[None]:
        """Losses that aren't divided by the step's tokens are by the number of its batches."""
        before = self.current_gradient_accumulation_steps
        self.current_gradient_accumulation_steps = before * pieces
        try:
            yield
        finally:
            self.current_gradient_accumulation_steps = before

    def _halve(self, kept: Kept) -> None:
        """Give back what is held for nothing, and go on in twice as many parts."""
        free()
        step, rows = self.state.global_step + 1, len(kept.rows)
        if self.parts >= rows:
            raise RunError(
                f"Memory ran out in step {count(step)} over a single row: type a smaller "
                "--max-length or --method qlora, or free some (%peft_memory shows what holds it)."
            )
        self.parts *= 2
        size = max(len(part) for part in kept.parts(self.parts))
        self.events.emit(
            Noted(
                f"memory ran out in step {count(step)}: the run goes on from the step before, with "
                f"{count(rows)} rows a step in batches of {count(size)}"
            )
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's memory ran out, or a CPU's allocator was refused (Linux rarely does)."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free() -> None:
    """Give what the caching allocator holds back to the GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
