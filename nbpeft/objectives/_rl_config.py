"""The trainer's config of reinforcement learning: TRL's words, those that nbpeft acts on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nbpeft.errors import RequestError

Algorithm = Literal["rloo", "grpo"]
Scale = Literal["group", "batch", "none"]
Aggregate = Literal["bnpo", "grpo", "dr_grpo"]

LONGEST_ANSWER = 256
"""Tokens of an answer where nothing is said; fewer where max_length leaves less."""
BETA = {"rloo": 0.05, "grpo": 0.0}
"""TRL's own, of each."""


def told(help: str, default: Any) -> Any:
    """A field, with what is said of it."""
    return field(default=default, metadata={"help": help})


@functools.cache
def rl_config() -> type[Any]:
    """TrainingArguments of transformers, with what RLOOConfig and GRPOConfig of TRL have beside."""
    from transformers import TrainingArguments

    @dataclass
    class RLConfig(TrainingArguments):
        """The config of a run from rewards."""

        remove_unused_columns: bool = told("rewards read the other columns", False)
        max_length: int | None = told("tokens of a prompt with its answer", None)
        algorithm: Algorithm = told("how rewards become a gradient: rloo or grpo", "rloo")  # noqa: RUF009  a field
        num_generations: int = told("answers sampled to each prompt", 4)
        num_iterations: int = told("steps that learn from the same answers", 1)
        max_completion_length: int | None = told(
            "tokens that an answer may have; by default half of max_length, at most 256", None
        )
        temperature: float = told("of sampling: the higher, the more the answers differ", 1.0)
        top_p: float = told("sample from the likeliest tokens that come to so much together", 1.0)
        top_k: int = told("sample from so many of the likeliest tokens; 0: from all", 0)
        beta: float | None = told(
            "what a nat of KL to the policy at the run's start costs; by default 0.05 for rloo, "
            "0 for grpo",
            None,
        )
        epsilon: float = told("how far a ratio may go before it is clipped", 0.2)
        epsilon_high: float | None = told("the same upwards, where that differs", None)
        normalize_advantages: bool = told("rloo: bring advantages to mean 0 and spread 1", False)
        scale_rewards: Scale = told("grpo: the spread that rewards are divided by", "group")  # noqa: RUF009  a field
        loss_type: Aggregate = told("grpo: how tokens' losses are put together", "bnpo")  # noqa: RUF009  a field
        reward_clip_range: list[float] | None = told("cut rewards to [least, most]", None)  # noqa: RUF009  a field
        mask_truncated_completions: bool = told("learn nothing from answers without an end", False)
        disable_dropout: bool = told("train without dropout", False)

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.num_generations < 2:
                raise ValueError(
                    f"num_generations must be 2 or more, not {self.num_generations}: an answer is "
                    "compared with the others to its prompt"
                )
            for name in ("num_iterations", "temperature", "epsilon"):
                if getattr(self, name) <= 0:
                    raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
            if self.num_iterations > 1 and self.gradient_accumulation_steps > 1:
                raise ValueError(
                    "num_iterations goes with gradient_accumulation_steps: 1 only; type a larger "
                    "batch_size instead"
                )
            if self.reward_clip_range is not None and not _is_range(self.reward_clip_range):
                raise ValueError("reward_clip_range must be two numbers, the smaller one first")

        @property
        def longest_answer(self) -> int:
            """Tokens that an answer may have."""
            return longest_answer(vars(self))

        @property
        def penalty(self) -> float:
            """What a nat of KL costs."""
            return BETA[self.algorithm] if self.beta is None else self.beta

    return RLConfig


def longest_answer(settings: Mapping[str, Any]) -> int:
    """Tokens that an answer may have, by the config's fields.

    RequestError where that leaves nothing for the prompt.
    """
    most = int(settings["max_length"])
    longest = int(settings.get("max_completion_length") or min(LONGEST_ANSWER, most // 2))
    if not 0 < longest < most:
        raise RequestError(
            f"max_completion_length {longest} leaves no room for prompts in a max_length of "
            f"{most}: type a smaller one, or a larger --max-length."
        )
    return longest


def _is_range(value: list[float]) -> bool:
    return len(value) == 2 and value[0] < value[1]
