"""The trainer of a classifier: cross-entropy, and what the held-out rows are taken for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from nbpeft.objectives._fitted import logistic
from nbpeft.objectives._pooled import FEATURES, Pooled

if TYPE_CHECKING:
    from torch import nn

NEVER = -30.0
"""The score of a label that no row to train on has."""


class ClassifyTrainer(Pooled):
    """Before a Trainer: a score a label, of which the right one's is to be the highest."""

    confusion: torch.Tensor | None = None
    """(labels, labels) counts of the rows that were held out, when they were read last: row by
    true label, column by predicted one."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._taken: dict[str, list[torch.Tensor]] = {"train": [], "eval": []}

    @staticmethod
    def labels(rows: Sequence[dict[str, Any]]) -> torch.Tensor:
        """(rows) int64: the number of each row's label."""
        return torch.tensor([row["label"] for row in rows], dtype=torch.long)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, *_: Any
    ) -> Any:
        """The mean over a batch's texts."""
        scores, labels = self.scores(inputs), inputs["labels"]
        smoothing = self.args.label_smoothing_factor
        loss = functional.cross_entropy(scores, labels, label_smoothing=smoothing)
        best = scores.detach().argmax(-1)
        self.measure("accuracy", best == labels)
        mode = "train" if self.model.training else "eval"
        one = torch.eye(scores.shape[-1], device=scores.device)
        self._taken[mode].append(one[labels].T @ one[best])
        return (loss, {}) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **keywords: Any) -> None:
        """With macro F1, which is no mean over rows."""
        mode, prefix = ("eval", "eval_") if "eval_loss" in logs else ("train", "")
        if self._taken[mode]:
            confusion = torch.stack(self._taken[mode]).sum(0).round().long()
            self._taken[mode].clear()
            logs[f"{prefix}f1"] = macro_f1(confusion)
            if mode == "eval":
                self.confusion = confusion
        super().log(logs, *args, **keywords)

    def fit(self, rows: Sequence[dict[str, Any]], iterations: int) -> int:
        """scikit-learn's logistic regression, its coefficients put into the layer."""
        vectors = torch.stack([row[FEATURES][0] for row in rows])
        line = logistic(vectors, [row["label"] for row in rows], iterations)
        self.strength = line.strength
        weight, bias = torch.as_tensor(line.weight), torch.as_tensor(line.bias)
        if len(line.classes) == 2:  # one score: half of it for the one, half against the other
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        layer = self.head.only
        assert layer is not None
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.fill_(NEVER)
            layer.weight[line.classes] = weight.to(layer.weight)
            layer.bias[line.classes] = bias.to(layer.bias)
        return line.iterations


def macro_f1(confusion: torch.Tensor) -> float:
    """The mean over labels that occur of 2 hits / (2 hits + misses + false alarms).

    Args:
        confusion: counts, row by true label, column by predicted one.
    """
    hits = confusion.diagonal().double()
    either = confusion.sum(0) + confusion.sum(1)
    # No mask: shapes that depend on values can't be traced.
    each = 2 * hits / either.clamp(min=1)
    return float(each.sum() / (either > 0).sum().clamp(min=1))
