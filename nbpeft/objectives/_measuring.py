"""A trainer for losses of nbpeft's own: it measures beside them, and counts tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def measuring(mixin: type[Any]) -> type[Any]:
    """Transformers' Trainer with `mixin` before it, a class whose base is `Measuring`."""
    from transformers import Trainer

    return type(mixin.__name__, (mixin, Trainer), {})


class Measuring:
    """Before a Trainer: `compute_loss` calls `measure` and `count`, and the means are logged.

    The loss of a batch is a mean over its rows; those of accumulated batches are averaged.
    """

    # The trainer's own.
    args: Any
    model: nn.Module

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        # Else a loss isn't divided by the number of accumulated batches.
        self.model_accepts_loss_kwargs = False
        self._measured: dict[str, dict[str, list[torch.Tensor]]] = {"train": {}, "eval": {}}
        self._tokens = 0

    def measure(self, key: str, values: torch.Tensor) -> None:
        """Values (rows,) of a batch; `Measure.key` names them. Their mean is logged."""
        mode = "train" if self.model.training else "eval"
        self._measured[mode].setdefault(key, []).append(values.detach().float().reshape(-1))

    def count(self, tokens: int) -> None:
        """Tokens that a batch put through the model, padding not counted."""
        if self.model.training:
            self._tokens += tokens

    @property
    def tokens_seen(self) -> int:
        """Tokens that training put through the model."""
        return self._tokens

    def log(self, logs: dict[str, float], *args: Any, **keywords: Any) -> None:
        """With what was measured since the last time; into the dict that callbacks are handed."""
        import torch

        mode, prefix = ("eval", "eval_") if "eval_loss" in logs else ("train", "")
        for key, values in self._measured[mode].items():
            logs[prefix + key] = float(torch.cat(values).mean())
        self._measured[mode].clear()
        logs["num_tokens"] = self._tokens
        super().log(logs, *args, **keywords)  # type: ignore[misc]

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **words: Any
    ) -> tuple[torch.Tensor, None, None]:
        """The loss of a held-out batch."""
        import torch

        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))  # type: ignore[attr-defined]
        return loss.detach(), None, None
