"""Did training move anything? A run that trains nothing looks like any other, and costs as much.

Looked at once, around the first optimizer step that can tell: a few values of each trained
parameter before and after it, spread evenly, and those where the gradient is the largest and the
smallest (of an embedding, most rows get none). That something moved is enough: LoRA's A has no
gradient while its B is zero (arXiv:2106.09685, section 4.1).

Not seen: a loss that is cut off under a method whose penalty moves its parameters all the same
(AdaLoRA, diff pruning).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbpeft.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import nn

    from nbpeft.methods import Method

SAMPLED = 1024
"""Values of a parameter that are looked at: its copy is too large where a whole model is tuned."""


class Moved:
    """The check of one run; a resumed run's is of its own first step.

    Each step: `before_step`, `before_update` (the gradients are there), `after_update` (they still
    are). A step that can't tell is passed over: one that a gradient scaler skipped, one whose
    learning rate is 0, and, while the learning rate is still rising, one whose update is lost.

    Args:
        nothing: why a step may have no gradient; such a step can't tell either. '' where none may.

    Raises:
        RunError: nothing moved, by `after_update` or, when no step could tell, by `finish`.
    """

    def __init__(self, model: nn.Module, method: Method, nothing: str = "") -> None:
        self._model = model
        self._method = method
        self._nothing = nothing
        self._settled = False
        self._in_doubt: str | None = None
        """Why the steps so far could not tell."""
        self._values: list[_Values] = []
        self._gradients: list[torch.Tensor] = []

    def before_step(self) -> None:
        """Before the forward passes: some optimizers step in the backward pass already."""
        if not self._settled:
            self._gradients = []
            self._values = [_evenly(p) for p in _trained(self._model)]

    def before_update(self) -> None:
        """Look where the gradients are the largest and the smallest."""
        if self._settled:
            return
        for parameter in _trained(self._model):
            if parameter.grad is not None:
                values, gradients = _extremes(parameter)
                self._values.append(values)
                self._gradients.append(gradients)

    def after_update(self, optimizer: Any, *, step: int, rising: bool) -> None:
        """Judge, if this step can tell.

        Args:
            optimizer: accelerate's around torch's.
            step: the number of the step, from 1.
            rising: whether the learning rate is still in its warm-up.
        """
        if self._settled:
            return
        rate = max(group["lr"] for group in optimizer.param_groups)
        if optimizer.step_was_skipped:
            self._in_doubt = "in float16 every step overflowed and was skipped; type fp16: false"
        elif self._broken():
            raise RunError(self._not_numbers(step))
        elif rate == 0:
            self._in_doubt = "the learning rate was 0 throughout; give fewer warmup_steps"
        elif not self._reached() and self._nothing:
            self._in_doubt = self._nothing
        elif not self._reached():
            raise RunError(self._no_gradient(step))
        elif self._still():
            self._in_doubt = self._lost(rate)
            if not rising:
                raise RunError(f"Step {step} moved nothing: {self._in_doubt}.")
        else:
            self._settle()

    def finish(self) -> None:
        """The run's steps are done: one of them must have been able to tell."""
        if not self._settled and self._in_doubt is not None:
            raise RunError(f"The run moved nothing: {self._in_doubt}.")

    def _settle(self) -> None:
        self._settled, self._values, self._gradients = True, [], []

    def _broken(self) -> bool:
        numbers = all(bool(gradient.isfinite().all()) for gradient in self._gradients)
        return not numbers or any(values.broke() for values in self._values)

    def _still(self) -> bool:
        return not any(values.moved() for values in self._values)

    def _reached(self) -> bool:
        """Whether a gradient came; of those that the backward pass has used up, what it did."""
        if self._gradients:
            return any(bool(gradient.any()) for gradient in self._gradients)
        return not self._still()

    def _no_gradient(self, step: int) -> str:
        count = sum(1 for _ in _trained(self._model))
        return (
            f"No gradient reaches the {count} parameters that {self._method.name} trains, so step "
            f"{step} moved nothing: something between them and the loss is cut off (a detach, a "
            "no_grad, a layer without a backward pass); load the model anew, without it."
        )

    def _lost(self, rate: float) -> str:
        kinds = sorted({str(p.dtype).removeprefix("torch.") for p in _trained(self._model)})
        finer = "" if kinds == ["float32"] else ", or load the model in float32"
        own = f"{self._method.name}'s own is {self._method.learning_rate:g}"
        return (
            f"at learning rate {rate:.3g} every update is lost in rounding {'/'.join(kinds)} "
            f"weights; type a larger --learning-rate ({own}){finer}"
        )

    def _not_numbers(self, step: int) -> str:
        half = any(str(p.dtype) == "torch.float16" for p in self._model.parameters())
        advice = (
            "float16 weights overflow: load the model in bfloat16 or float32"
            if half
            else "look for NaN in the model's weights, and at the rows with %peft_data"
        )
        return (
            f"Step {step} came to gradients or weights that are not numbers (nan, inf): {advice}."
        )


class _Values:
    """A few values of a parameter: what they were, and how to see what they are."""

    def __init__(self, parameter: torch.Tensor, at: slice | torch.Tensor) -> None:
        self._parameter = parameter
        self._at = at
        self._before = self._now().clone()

    def _now(self) -> torch.Tensor:
        return self._parameter.detach().flatten()[self._at]

    def moved(self) -> bool:
        """Whether one of them is another."""
        return not bool((self._now() == self._before).all())

    def broke(self) -> bool:
        """Whether one that was a number no longer is."""
        return bool((self._before.isfinite() & ~self._now().isfinite()).any())


def _trained(model: nn.Module) -> Iterator[nn.Parameter]:
    return (p for p in model.parameters() if p.requires_grad and p.numel())


def _evenly(parameter: nn.Parameter) -> _Values:
    return _Values(parameter, slice(None, None, -(-parameter.numel() // SAMPLED)))


def _extremes(parameter: nn.Parameter) -> tuple[_Values, torch.Tensor]:
    """(the values, the gradients) where the gradient is the largest and the smallest.

    Both are found without a copy; a NaN is either.
    """
    import torch

    assert parameter.grad is not None
    gradient = parameter.grad.flatten()
    at = torch.stack([gradient.argmax(), gradient.argmin()])
    return _Values(parameter, at), gradient[at]
