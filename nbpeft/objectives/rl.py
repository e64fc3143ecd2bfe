"""Reinforcement learning: answers are sampled, judged, and the better ones become likelier."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.objectives import Measure, Objective, Reference, objectives
from nbpeft.objectives._policy import OfPolicy
from nbpeft.objectives._rl_config import longest_answer, rl_config
from nbpeft.objectives._rollouts import Prompts, Writer, asked_of
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from nbpeft.data import Rows
    from nbpeft.data.signals import Signal
    from nbpeft.feedback import Surroundings, Weighted

EQUAL = (
    "the answers to each prompt all got the same reward, so there was nothing to learn from: type "
    "a reward that tells answers apart, a larger num_generations or a higher temperature"
)


@dataclass(frozen=True, kw_only=True)
class RL(OfPolicy):
    """RLOO or GRPO, on one copy of the weights."""

    reward: Weighted | None = None
    """Once it is bound to a kernel."""
    longest: int = 0
    """Tokens of an answer, likewise."""

    def bound(self, around: Surroundings) -> Objective:
        """With the rewards that the request names, and as much room for answers as it asks for."""
        from nbpeft.feedback.finding import rewards_of

        return dataclasses.replace(
            self, reward=rewards_of(around), longest=longest_answer(around.settings)
        )

    def config_class(self) -> type[Any]:
        """The words of TRL's RLOOConfig and GRPOConfig that are acted on."""
        return rl_config()

    def trainer_class(self) -> type[Any]:
        """The Trainer of transformers over prompts, which are answered in its steps."""
        from nbpeft.objectives._measuring import measuring
        from nbpeft.objectives._rl_trainer import Reinforced

        return measuring(type("ReinforcedTrainer", (Reinforced,), {"reward": self.reward}))

    def reading(self, loss_on: LossOn) -> Signal:
        """Prompts that leave room for their answers."""
        from nbpeft.data.signals import Prompts as Asked

        return Asked(max_new_tokens=self.longest)

    def accepted(self, rows: Rows, tokenizer: Any) -> Rows:
        """Prompts, and what else stands in their rows, for the rewards."""
        assert self.reward is not None
        self.reward.check(tuple(asked_of(rows.train[0])[1]))
        return rows

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Prompts as they are."""
        return Prompts()

    def begin(self, trainer: Any, reference: Reference) -> None:
        """Who answers, and whom to stay near to."""
        args = trainer.args
        super().begin(trainer, reference)
        trainer.writer = Writer(
            model=trainer.model,
            tokenizer=trainer.processing_class,
            longest=args.longest_answer,
            each=args.num_generations,
            sampling={"temperature": args.temperature, "top_p": args.top_p, "top_k": args.top_k},
        )


objectives.add(
    RL(
        name="rl",
        summary="answers that a reward finds better become likelier (RLOO, GRPO)",
        paper="Ahmadian et al. 2024, arXiv:2402.14740",
        gives=frozenset({"causal logits"}),
        learning_rate_factor=0.25,
        signal="prompts",
        takes=frozenset({"reward", "judge", "rubric"}),
        nothing=EQUAL,
        measures=(
            Measure("reward", "reward"),
            Measure("kl", "KL"),
            Measure("completion_length", "answer tokens"),
        ),
    )
)
