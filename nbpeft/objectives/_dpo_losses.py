"""The losses of DPO's family, as TRL's DPOTrainer has them, by name.

Each takes log-ratios of the policy to the reference, for chosen and rejected answers, (pairs,)
each, and gives a loss a pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, did_you_mean, listed, quoted
from nbpeft.objectives._pairs import Judged, Sides

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Ratios:
    """What the losses are made of, (pairs,) each."""

    chosen: torch.Tensor
    """log policy - log reference of the chosen answer."""
    rejected: torch.Tensor
    chosen_scores: torch.Tensor
    """The same through the derivative of the chosen f-divergence (Wang et al. 2023,
    arXiv:2309.16240); the log-ratio itself for reverse KL."""
    rejected_scores: torch.Tensor
    sides: Sides

    @property
    def delta(self) -> torch.Tensor:
        """How much more the chosen one gained."""
        return self.chosen_scores - self.rejected_scores

    @property
    def mean_delta(self) -> torch.Tensor:
        """The same, a token of each answer."""
        chosen = self.chosen_scores / self.sides.chosen_tokens.clamp(min=1)
        return chosen - self.rejected_scores / self.sides.rejected_tokens.clamp(min=1)


def dpo_loss(sides: Sides, args: Any) -> Judged:
    """The weighted sum of the losses that `loss_type` names."""
    assert sides.reference_chosen is not None
    assert sides.reference_rejected is not None
    chosen = sides.chosen - sides.reference_chosen
    rejected = sides.rejected - sides.reference_rejected
    ratios = Ratios(chosen, rejected, _bent(chosen, args), _bent(rejected, args), sides)
    weights = args.loss_weights or [1.0] * len(args.loss_type)
    losses = [LOSSES[name](ratios, args).mean() for name in args.loss_type]
    loss: Any = sum(w * loss for w, loss in zip(weights, losses, strict=True))
    return Judged(loss, args.beta * chosen, args.beta * rejected)


def _bent(ratio: torch.Tensor, args: Any) -> torch.Tensor:
    """The derivative of the f-divergence at exp(ratio)."""
    from torch.nn.functional import logsigmoid

    kind = args.f_divergence_type
    if kind == "forward_kl":
        return 1 - (-ratio).exp()
    if kind == "js_divergence":
        return math.log(2) + logsigmoid(ratio)
    power = args.f_alpha_divergence_coef - 1.0
    if kind == "alpha_divergence" and abs(power) >= 1e-6:
        # What exp still holds.
        return ((power * ratio.float()).clamp(max=80.0).exp() - 1.0) / power
    return ratio  # reverse KL, and the limit of alpha


def _likely(value: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import logsigmoid

    return logsigmoid(value)


def sigmoid(r: Ratios, args: Any) -> torch.Tensor:
    """Rafailov et al. 2023, arXiv:2305.18290."""
    return -_likely(args.beta * r.delta)


def hinge(r: Ratios, args: Any) -> torch.Tensor:
    """Zhao et al. 2023 (SLiC), arXiv:2305.10425."""
    return (1 - args.beta * r.delta).relu()


def ipo(r: Ratios, args: Any) -> torch.Tensor:
    """Azar et al. 2023, arXiv:2310.12036, over the mean of an answer's tokens."""
    return (r.mean_delta - 1 / (2 * args.beta)) ** 2


def exo_pair(r: Ratios, args: Any) -> torch.Tensor:
    """Ji et al. 2024, arXiv:2402.00856, eq. 16."""
    up, down = args.beta * r.delta, -args.beta * r.delta
    smooth = args.label_smoothing
    return up.sigmoid() * (_likely(up) - math.log1p(-smooth)) + down.sigmoid() * (
        _likely(down) - math.log(smooth)
    )


def nca_pair(r: Ratios, args: Any) -> torch.Tensor:
    """Chen et al. 2024, arXiv:2402.05369."""
    chosen, rejected = args.beta * r.chosen, args.beta * r.rejected
    return -_likely(chosen) - 0.5 * _likely(-chosen) - 0.5 * _likely(-rejected)


def robust(r: Ratios, args: Any) -> torch.Tensor:
    """Chowdhury et al. 2024, arXiv:2403.00409."""
    smooth = args.label_smoothing
    clean = -(1 - smooth) * _likely(args.beta * r.delta)
    flipped = -smooth * _likely(-args.beta * r.delta)
    return (clean - flipped) / (1 - 2 * smooth)


def bco_pair(r: Ratios, args: Any) -> torch.Tensor:
    """Jung et al. 2024, arXiv:2404.04656."""
    return -_likely(args.beta * r.chosen) - _likely(-args.beta * r.rejected)


def sppo_hard(r: Ratios, args: Any) -> torch.Tensor:
    """Wu et al. 2024, arXiv:2405.00675, with a win of probability 1."""
    return (r.chosen - 0.5 / args.beta) ** 2 + (r.rejected + 0.5 / args.beta) ** 2


def aot(r: Ratios, args: Any) -> torch.Tensor:
    """Melnyk et al. 2024, arXiv:2406.05882: over the sorted ratios of the batch."""
    sides = r.sides
    reference: Any = sides.reference_chosen - sides.reference_rejected  # type: ignore[operator]
    delta = (sides.chosen - sides.rejected).sort().values - reference.sort().values
    return _smoothed(args.beta * delta, args)


def aot_unpaired(r: Ratios, args: Any) -> torch.Tensor:
    """The same, each side sorted by itself."""
    return _smoothed(args.beta * (r.chosen.sort().values - r.rejected.sort().values), args)


def _smoothed(delta: torch.Tensor, args: Any) -> torch.Tensor:
    smooth = args.label_smoothing
    return -_likely(delta) * (1 - smooth) - _likely(-delta) * smooth


def apo_zero(r: Ratios, args: Any) -> torch.Tensor:
    """D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7."""
    return 1 - (args.beta * r.chosen).sigmoid() + (args.beta * r.rejected).sigmoid()


def apo_down(r: Ratios, args: Any) -> torch.Tensor:
    """The same, eq. 8."""
    return (args.beta * r.chosen).sigmoid() + 1 - (args.beta * (r.chosen - r.rejected)).sigmoid()


def discopop(r: Ratios, args: Any) -> torch.Tensor:
    """Lu et al. 2024, arXiv:2406.08414, eq. 5."""
    logits = args.beta * r.delta
    share = (logits / args.discopop_tau).sigmoid()
    return -_likely(logits) * (1 - share) + (-logits).exp() * share


def sft(r: Ratios, args: Any) -> torch.Tensor:
    """The chosen answers' own loss, a token."""
    return -(r.sides.chosen.sum() / r.sides.chosen_tokens.sum()).reshape(1)


def sigmoid_norm(r: Ratios, args: Any) -> torch.Tensor:
    """`sigmoid` over the mean of an answer's tokens."""
    return -_likely(args.beta * r.mean_delta)


LOSSES: dict[str, Callable[[Ratios, Any], torch.Tensor]] = {
    loss.__name__: loss
    for loss in (
        sigmoid, hinge, ipo, exo_pair, nca_pair, robust, bco_pair, sppo_hard, aot, aot_unpaired,
        apo_zero, apo_down, discopop, sft, sigmoid_norm,
    )
}  # fmt: skip
"""By the name that `loss_type` has in TRL."""


def check(args: Any) -> None:
    """Refuse losses that aren't there.

    Raises:
        RequestError: a name or an f-divergence that nobody knows, or a label smoothing that a
            loss isn't defined for.
    """
    for name in args.loss_type:
        if name not in LOSSES:
            raise RequestError(
                f"There is no loss {quoted(name)}.{did_you_mean(name, LOSSES)} The losses of dpo "
                f"are: {listed(LOSSES, limit=len(LOSSES))}."
            )
    if args.f_divergence_type not in DIVERGENCES:
        raise RequestError(
            f"There is no f_divergence_type {quoted(args.f_divergence_type)}; it is one of "
            f"{listed(DIVERGENCES)}."
        )
    smooth = args.label_smoothing
    if "exo_pair" in args.loss_type and not 0 < smooth < 1:
        raise RequestError(
            f"The loss exo_pair needs a label_smoothing above 0, not {smooth}; type "
            "label_smoothing: 1e-3 in the body."
        )
    if not 0 <= smooth < 0.5:
        raise RequestError(f"label_smoothing must be from 0 to below 0.5, not {smooth}.")


DIVERGENCES = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")
