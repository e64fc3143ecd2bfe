"""Reward modelling: a score that is higher for the better of two answers.

The loss is Bradley and Terry's (1952), as TRL's RewardTrainer has it: -log sigmoid(chosen -
rejected) (Ouyang et al. 2022, arXiv:2203.02155), with its term that keeps scores about zero where
`center_rewards_coefficient` is given (Eisenstein et al. 2023, arXiv:2312.09244, equation 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nbpeft.mounts import Outputs
from nbpeft.objectives import Measure, Objective, Reference, objectives

if TYPE_CHECKING:
    from nbpeft.data import Rows

RESERVED = frozenset(
    {
        # Rows arrive tokenized and cut: these act on TRL's own preparation.
        "chat_template_path",
        "dataset_num_proc",
        "eos_token",
        "pad_to_multiple_of",
        "pad_token",
        # The model is there already.
        "model_init_kwargs",
        "trust_remote_code",
        # Only TRL's trainer acts on it.
        "activation_offloading",
    }
)
"""Fields of TRL's config that act where nbpeft has acted already, or not at all."""


class Reward(Objective):
    """Pairs of answers; one score a text."""

    def config_class(self) -> type[Any]:
        """TRL's RewardConfig."""
        from trl.trainer.reward_config import RewardConfig

        kind: type[Any] = RewardConfig
        return kind

    def trainer_class(self) -> type[Any]:
        """The Trainer of transformers with the loss of pairs."""
        from nbpeft.objectives._measuring import measuring
        from nbpeft.objectives._reward import RewardTrainer

        return measuring(RewardTrainer)

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """All chosen answers, then all rejected ones, padded; `quicken` may pack them."""
        from nbpeft.objectives._pooled import padded_texts
        from nbpeft.objectives._reward import RewardTrainer

        return padded_texts(RewardTrainer, tokenizer)

    def outputs(self, rows: Rows) -> Outputs:
        """One score."""
        return Outputs(1)

    def quicken(self, trainer: Any, settings: Mapping[str, Any]) -> str:
        """Chosen and rejected answers as one packed sequence, where that changes nothing."""
        from nbpeft.objectives._pooled import quicken

        return quicken(trainer, settings)

    def begin(self, trainer: Any, reference: Reference) -> None:
        """Features of a frozen body are computed once."""
        trainer.freeze()


objectives.add(
    Reward(
        name="reward",
        summary="a score that is higher for the better of two answers",
        paper="Ouyang et al. 2022, arXiv:2203.02155",
        signal="preferences",
        gives=frozenset({"pooled features"}),
        reads=frozenset({"decoder", "encoder"}),
        defaults={"remove_unused_columns": False},
        reserved=RESERVED,
        measures=(Measure("accuracy", "accuracy", share=True), Measure("margin", "reward margin")),
    )
)
