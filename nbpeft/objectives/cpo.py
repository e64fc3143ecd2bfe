"""Contrastive preference optimization, SimPO and AlphaPO: preferences without a reference."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, did_you_mean, listed, quoted
from nbpeft.objectives import objectives
from nbpeft.objectives._pairs import MEASURES, Judged, Pairs, Sides
from nbpeft.objectives._reserved import ALONE

if TYPE_CHECKING:
    import torch

LOSSES = ("sigmoid", "hinge", "ipo", "simpo", "alphapo")


def config() -> type[Any]:
    """TRL's CPOConfig: `beta`, `loss_type` (`loss`), `cpo_alpha`, `simpo_gamma`, …"""
    with warnings.catch_warnings():  # that it may change one day is for us to know
        warnings.simplefilter("ignore")
        from trl.experimental.cpo import CPOConfig

    kind: type[Any] = CPOConfig
    return kind


def cpo_loss(sides: Sides, args: Any) -> Judged:
    """Xu et al. 2024, arXiv:2401.08417: a preference loss plus the chosen answers' own.

    `simpo` (Meng et al. 2024, arXiv:2405.14734) and `ipo` are over the mean of an answer's tokens;
    `alpha` bends rewards as AlphaPO does (Gupta et al. 2025, arXiv:2501.03884).
    """
    chosen, rejected = sides.chosen, sides.rejected
    if args.loss_type in ("ipo", "simpo"):
        chosen = chosen / sides.chosen_tokens.clamp(min=1)
        rejected = rejected / sides.rejected_tokens.clamp(min=1)
    chosen, rejected = (_bent(side, args.alpha) for side in (chosen, rejected))
    loss = _loss(chosen - rejected, args).mean()
    if args.cpo_alpha:
        likely = -sides.chosen.sum() / sides.chosen_tokens.sum()
        loss = loss + args.cpo_alpha * likely
    return Judged(loss, args.beta * chosen, args.beta * rejected)


def _bent(log_prob: torch.Tensor, alpha: float) -> torch.Tensor:
    """(1 - p^-alpha) / alpha, and its limit log p."""
    return (1 - (-alpha * log_prob).exp()) / alpha if alpha else log_prob


def _loss(delta: torch.Tensor, args: Any) -> torch.Tensor:
    from torch.nn.functional import logsigmoid

    if args.loss_type == "hinge":
        return (1 - args.beta * delta).relu()
    if args.loss_type == "ipo":
        return (delta - 1 / (2 * args.beta)) ** 2
    if args.loss_type == "simpo":
        delta = delta - args.simpo_gamma / args.beta
    smooth = args.label_smoothing
    scaled = args.beta * delta
    return -logsigmoid(scaled) * (1 - smooth) - logsigmoid(-scaled) * smooth


def check(args: Any) -> None:
    """Refuse a loss that isn't there; RequestError."""
    if args.loss_type not in LOSSES:
        raise RequestError(
            f"There is no loss {quoted(args.loss_type)}.{did_you_mean(args.loss_type, LOSSES)} The "
            f"losses of cpo are: {listed(LOSSES)}."
        )


objectives.add(
    Pairs(
        name="cpo",
        summary="preferences without a reference: CPO, and SimPO and AlphaPO as its losses",
        paper="Xu et al. 2024, arXiv:2401.08417",
        gives=frozenset({"causal logits"}),
        learning_rate_factor=0.25,
        defaults={"remove_unused_columns": False},
        aliases={"loss": "loss_type"},
        reserved=ALONE,
        measures=MEASURES,
        config=config,
        pair_loss=cpo_loss,
        refers=False,
        refused=check,
    )
)
