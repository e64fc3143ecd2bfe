"""Odds-ratio preference optimization: the chosen answers' own loss, and odds over the others."""

from __future__ import annotations

import warnings
from typing import Any

from nbpeft.objectives import objectives
from nbpeft.objectives._pairs import MEASURES, Judged, Pairs, Sides
from nbpeft.objectives._reserved import ORPO


def config() -> type[Any]:
    """TRL's ORPOConfig; `beta` is the paper's λ."""
    with warnings.catch_warnings():  # that it may change one day is for us to know
        warnings.simplefilter("ignore")
        from trl.experimental.orpo import ORPOConfig

    kind: type[Any] = ORPOConfig
    return kind


def orpo_loss(sides: Sides, args: Any) -> Judged:
    """Hong et al. 2024, arXiv:2403.07691, eqs. 4, 6 and 7.

    Over the mean of an answer's tokens. The chosen answers' loss is of their own tokens, as in the
    paper; TRL's takes in those of the prompt.
    """
    import torch
    from torch.nn.functional import logsigmoid

    chosen = sides.chosen / sides.chosen_tokens.clamp(min=1)
    rejected = sides.rejected / sides.rejected_tokens.clamp(min=1)
    # log(p / (1 - p)), with the latter as -expm1: exact where p is near 0 and near 1.
    least = -torch.finfo(torch.float32).eps
    odds = [p - torch.log(-torch.expm1(p.clamp(max=least))) for p in (chosen, rejected)]
    likely = -sides.chosen.sum() / sides.chosen_tokens.sum()
    loss = likely - args.beta * logsigmoid(odds[0] - odds[1]).mean()
    return Judged(loss, args.beta * chosen, args.beta * rejected)


objectives.add(
    Pairs(
        name="orpo",
        summary="the preferred answers are learned, at odds with the others; no reference",
        paper="Hong et al. 2024, arXiv:2403.07691",
        gives=frozenset({"causal logits"}),
        learning_rate_factor=0.5,
        defaults={"remove_unused_columns": False},
        reserved=ORPO,
        measures=MEASURES,
        config=config,
        pair_loss=orpo_loss,
        refers=False,
    )
)
