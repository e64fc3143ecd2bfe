"""Trainers of losses made of whole answers' log-probabilities, by the policy and a reference.

The reference is the policy at the run's start, on the same weights: what is trained is put aside by
its pointers, so there is no second model. A row is asked of it once, when it first comes, and its
log-probabilities are remembered for later epochs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.objectives import Objective, Reference
from nbpeft.objectives._measuring import Measuring

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from nbpeft.seam.probe import Choice
    from nbpeft.seam.scores import Scores

NUMBER = "nbpeft row"
"""The column that says which row of its data set a row is."""


class Policy(Measuring):
    """Before a Trainer: batches of several answers a row, scored by the seam."""

    tried: Choice | None = None
    """What trying the model came to, where that is known."""
    scorer: Scores
    reference: Reference | None = None
    """None where a step is only traced: its log-probabilities count as 0 then."""
    choice: Choice

    # The trainer's own.
    accelerator: Any
    data_collator: Any
    train_dataset: Any
    eval_dataset: Any

    def __init__(self, *args: Any, **keywords: Any) -> None:
        for name in ("train_dataset", "eval_dataset"):
            if keywords[name] is not None:
                keywords[name] = numbered(keywords[name])
        super().__init__(*args, **keywords)
        if self.args.disable_dropout:  # the reference has none: with it, the two would differ
            from torch import nn

            for module in self.model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
        self._known: dict[str, np.ndarray[Any, Any]] = {}

    def take(self, choice: Choice) -> None:
        """Go the way that was chosen from here on."""
        from nbpeft.seam.packing import Branched, Packed, Padded
        from nbpeft.seam.scores import Whole
        from nbpeft.seam.sharing import branches

        self.choice = choice
        self.scorer = choice.scorer or Whole(self.model)
        if choice.way != "packed":
            layout: Any = Padded(choice.filler)
        elif branches(choice, self.accelerator.autocast, self.args.max_length):
            layout = Branched()
        else:
            layout = Packed()
        self.data_collator.layout = layout

    def sums(self, scorer: Scores, batch: Mapping[str, Any]) -> torch.Tensor:
        """Log-probabilities (answers,) of a batch's whole answers, in nats."""
        with self.accelerator.autocast():
            scores = scorer.scores(dict(batch))
        counts = batch["counts"]
        owners = _owners(counts, len(scores))
        return scores.new_zeros(len(counts)).index_add(0, owners, scores)

    def referred(self, batch: Mapping[str, Any], part: str = "") -> torch.Tensor:
        """The same by the reference, each row asked once.

        Args:
            part: tells one kind of batch over the same rows from another.
        """
        import numpy as np
        import torch

        if self.reference is None:
            return torch.zeros(len(batch["counts"]), device=batch["counts"].device)
        numbers = batch["numbers"].tolist()
        each = len(batch["counts"]) // len(numbers)
        known = self._remembered(part, each)
        if np.isnan(known[numbers]).any():
            with self.reference() as model, torch.no_grad():
                scorer = self._reference_scorer(model)
                with scorer.over(dict(batch)):
                    known[numbers] = self.sums(scorer, batch).view(-1, each).cpu().numpy()
        found = torch.from_numpy(known[numbers]).reshape(-1)
        return found.to(batch["counts"].device)

    def _remembered(self, part: str, each: int) -> np.ndarray[Any, Any]:
        import numpy as np

        mode = "train" if self.model.training else "eval"
        key = f"{mode} {part}"
        if key not in self._known:
            rows = self.train_dataset if mode == "train" else self.eval_dataset
            self._known[key] = np.full((len(rows), each), np.nan, dtype=np.float32)
        return self._known[key]

    def _reference_scorer(self, model: nn.Module) -> Scores:
        from nbpeft.seam.probe import bound
        from nbpeft.seam.scores import Whole

        return bound(self.choice, model).scorer or Whole(model)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any) -> torch.Tensor:
        """Forward and backward: with checkpointing, the latter runs forwards again."""
        with self._over(inputs):
            step: torch.Tensor = super().training_step(model, inputs, *args)  # type: ignore[misc]
        return step

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **words: Any
    ) -> tuple[torch.Tensor, None, None]:
        """A held-out batch."""
        with self._over(inputs):
            return super().prediction_step(model, inputs, *args, **words)

    def _over(self, inputs: dict[str, Any]) -> AbstractContextManager[None]:
        return self.scorer.over(inputs)

    @contextlib.contextmanager
    def aside(self, batch: dict[str, Any]) -> Any:
        """Inside, another batch than the step's own is scored, without gradients."""
        import torch

        with torch.no_grad(), self.scorer.over(batch):
            yield


@dataclass(frozen=True, kw_only=True)
class OfPolicy(Objective):
    """What objectives have in common whose trainer is a `Policy`."""

    def quicken(self, trainer: Any, settings: Mapping[str, Any]) -> str:
        """Try the model and take the fastest way: packed rows, what they share once."""
        from nbpeft.objectives._scored import SLOWER
        from nbpeft.seam.probe import choose

        choice = trainer.tried or choose(
            trainer.model, longest=trainer.args.max_length, autocast=trainer.accelerator.autocast
        )
        trainer.take(choice)
        return f"{SLOWER[choice.way]}: {choice.why}" if choice.why else ""

    def begin(self, trainer: Any, reference: Reference) -> None:
        """Whom to compare with."""
        trainer.reference = reference


def numbered(rows: Any) -> Any:
    """A data set with each row's number in it."""
    import numpy as np

    return rows.add_column(NUMBER, np.arange(len(rows)))


def counted(layout: Any, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of answers, in a layout of `nbpeft.seam.packing`, that says whose each token is.

    Adds `counts` (answers), the trained tokens of each.
    """
    import torch

    counts = [sum(label >= 0 for label in answer["labels"][1:]) for answer in answers]
    return {**layout(answers), "counts": torch.tensor(counts)}


def _owners(counts: torch.Tensor, total: int) -> torch.Tensor:
    """(trained tokens) of which answer each is."""
    import torch

    every = torch.arange(len(counts), device=counts.device)
    return torch.repeat_interleave(every, counts, output_size=total)
