"""Direct preference optimization, with the losses that TRL knows under it."""

from __future__ import annotations

from typing import Any

from nbpeft.objectives import objectives
from nbpeft.objectives._dpo_losses import check, dpo_loss
from nbpeft.objectives._pairs import MEASURES, Pairs
from nbpeft.objectives._reserved import DPO


def config() -> type[Any]:
    """TRL's DPOConfig: `beta`, `loss_type` (`loss`), `label_smoothing`, …"""
    from trl.trainer.dpo_config import DPOConfig

    kind: type[Any] = DPOConfig
    return kind


objectives.add(
    Pairs(
        name="dpo",
        summary="of two answers the preferred one becomes likelier, compared with the start",
        paper="Rafailov et al. 2023, arXiv:2305.18290",
        gives=frozenset({"causal logits"}),
        learning_rate_factor=0.25,
        defaults={"remove_unused_columns": False},
        aliases={"loss": "loss_type"},
        reserved=DPO,
        measures=MEASURES,
        config=config,
        pair_loss=dpo_loss,
        refers=True,
        refused=check,
    )
)
