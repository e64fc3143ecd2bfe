"""The trainer of a reward model: the loss of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from nbpeft.objectives._fitted import logistic
from nbpeft.objectives._pooled import FEATURES, Pooled

if TYPE_CHECKING:
    from torch import nn


class RewardTrainer(Pooled):
    """Before a Trainer: scores of the chosen answers over those of the rejected ones."""

    columns = ("input_ids", "rejected_input_ids")

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        if self.args.disable_dropout:  # as TRL does, and by default
            for module in self.model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0

    @staticmethod
    def labels(rows: Sequence[dict[str, Any]]) -> torch.Tensor:
        """One a pair, of no other meaning."""
        return torch.zeros(len(rows), dtype=torch.long)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, *_: Any
    ) -> Any:
        """The mean over a batch's pairs."""
        chosen, rejected = self.scores(inputs).squeeze(-1).chunk(2)
        margin = chosen - rejected
        loss = -functional.logsigmoid(margin).mean()
        coefficient = self.args.center_rewards_coefficient
        if coefficient is not None:
            loss = loss + coefficient * (chosen + rejected).square().mean()
        self.measure("accuracy", margin > 0)
        self.measure("margin", margin)
        return (loss, {}) if return_outputs else loss

    def fit(self, rows: Sequence[dict[str, Any]], iterations: int) -> int:
        """The loss of pairs is a logistic regression on differences, told from their opposites."""
        vectors = torch.stack([row[FEATURES] for row in rows])
        # A difference is told from its opposite: every second one is turned round.
        signs = torch.ones(len(rows), 1)
        signs[1::2] = -1
        difference = signs * (vectors[:, 0] - vectors[:, 1])
        told = (signs[:, 0] > 0).int().tolist()
        if len(rows) == 1:
            difference, told = torch.cat([difference, -difference]), [1, 0]
        line = logistic(difference, told, iterations, centred=False)
        self.strength = line.strength
        layer = self.head.only
        assert layer is not None
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(line.weight))
            # A pair's loss leaves it open: scores are about zero.
            layer.bias.copy_(-(vectors.mean((0, 1)) @ layer.weight[0].cpu()))
        return line.iterations
