"""Objectives over pairs of answers, of which one was preferred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.objectives import Measure
from nbpeft.objectives._policy import NUMBER, OfPolicy, Policy, counted

if TYPE_CHECKING:
    import torch


MEASURES = (
    Measure("rewards/accuracies", "accuracy", share=True),
    Measure("rewards/margins", "reward margin"),
)
"""How often the chosen answer is the likelier one, and by how much; names as TRL logs them."""


@dataclass(frozen=True)
class Sides:
    """Log-probabilities (pairs,) of whole answers, in nats, and their numbers of tokens."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor
    reference_chosen: torch.Tensor | None = None
    """By the reference; None for losses without one."""
    reference_rejected: torch.Tensor | None = None


@dataclass(frozen=True)
class Judged:
    """What a loss made of a batch."""

    loss: torch.Tensor
    """() the mean over the pairs."""
    chosen_rewards: torch.Tensor
    """(pairs,) the rewards that the policy implies."""
    rejected_rewards: torch.Tensor


PairLoss = Callable[[Sides, Any], Judged]
"""(sides, the trainer's config) -> what it comes to."""


@dataclass(frozen=True, kw_only=True)
class Pairs(OfPolicy):
    """A loss over preferred and rejected answers."""

    config: Callable[[], type[Any]]
    """TRL's config, imported when it is asked for."""
    pair_loss: PairLoss
    refers: bool
    """Whether the loss compares with a reference."""
    refused: Callable[[Any], None] | None = None
    """Refuses a config that the loss doesn't go with, where there are such."""
    signal: str = "preferences"

    def config_class(self) -> type[Any]:
        """TRL's config of this loss."""
        return self.config()

    def check(self, arguments: Any) -> None:
        """Losses that aren't there, and numbers that they don't go with."""
        if self.refused is not None:
            self.refused(arguments)

    def trainer_class(self) -> type[Any]:
        """Transformers' Trainer with this loss, over rows packed by the seam."""
        from nbpeft.objectives._measuring import measuring

        kind = type("PairTrainer", (_PairTrainer,), {"objective": self})
        return measuring(kind)

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Both answers of each row in one batch."""
        return PairBatch()


class PairBatch:
    """A collator: rows of chosen and rejected tokens -> one batch of both, one after the other."""

    layout: Any = None
    """Of `nbpeft.seam.packing`; what the trainer has chosen."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch, with `numbers` (rows) of its rows."""
        import torch

        answers: list[dict[str, Any]] = []
        for row in rows:
            answers.append({"input_ids": row["input_ids"], "labels": row["labels"], "shared": 0})
            answers.append(
                {
                    "input_ids": row["rejected_input_ids"],
                    "labels": row["rejected_labels"],
                    "shared": row["shared"],
                }
            )
        batch = counted(self.layout, answers)
        return {**batch, "numbers": torch.tensor([row.get(NUMBER, 0) for row in rows])}


class _PairTrainer(Policy):
    objective: Pairs

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean over the batch's pairs."""
        # Before the forward that is gone back through: the reference swaps the model's layers.
        reference = self.referred(inputs).view(-1, 2) if self.objective.refers else None
        policy = self.sums(self.scorer, inputs).view(-1, 2)
        tokens = inputs["counts"].view(-1, 2)
        sides = Sides(
            policy[:, 0],
            policy[:, 1],
            tokens[:, 0],
            tokens[:, 1],
            None if reference is None else reference[:, 0],
            None if reference is None else reference[:, 1],
        )
        judged = self.objective.pair_loss(sides, self.args)
        margins = (judged.chosen_rewards - judged.rejected_rewards).detach()
        # Undecided pairs count half: before the first step all of them are.
        self.measure("rewards/accuracies", (margins.sign() + 1) / 2)
        self.measure("rewards/margins", margins)
        self.count(sum(inputs["lengths"]))
        return (judged.loss, {}) if return_outputs else judged.loss
