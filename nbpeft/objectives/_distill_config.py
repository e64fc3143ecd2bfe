"""The trainer's config of distillation: what is matched, and how answers are made."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nbpeft.objectives._rl_config import told

Loss = Literal["kl", "reverse_kl", "jsd", "sequence"]
Match = Literal["hidden", "attention"]
TopK = int | Literal["full"]

TOLD = {
    "loss": "kl (KL of the student from the teacher), reverse_kl or jsd between next-token "
    "distributions; or sequence: the teacher writes, and its text is learned (kl)",
    "top_k": "how many of the teacher's likeliest tokens are kept of each distribution, beside "
    "the mass of the others; full keeps all (64)",
    "on_policy": "the student writes the answers, anew in each step (false)",
    "temperature": "what both models' logits are divided by (1; with a teacher 2)",
    "beta": "of jsd: the teacher's share of the mixture (0.5)",
    "hard_label_weight": "share of the loss that the answers' own tokens have, 1 - alpha of Hinton "
    "et al. (0; with a teacher 0.2)",
    "match": "what of a teacher that the student was cut from is matched beside: hidden, attention",
    "match_weight": "what the matched states count beside the loss (1)",
    "num_generations": "answers to each prompt (1)",
    "max_completion_length": "tokens that an answer may have (half of max_length, at most 256)",
    "sampling_temperature": "of sampling answers; 0 takes the likeliest token (1)",
}
"""What is said of each field, and its default; `loss` is the word for loss_type."""


@functools.cache
def distill_config() -> type[Any]:
    """TrainingArguments of transformers, with what distillation has beside."""
    from transformers import TrainingArguments

    @dataclass
    class DistillConfig(TrainingArguments):
        """The config of a run that learns from a teacher."""

        remove_unused_columns: bool = told("prompts are read as they stand", False)
        max_length: int | None = told("tokens of a prompt with its answer", None)
        loss_type: Loss = told(TOLD["loss"], "kl")  # noqa: RUF009  a field
        top_k: TopK = told(TOLD["top_k"], 64)  # noqa: RUF009  a field
        on_policy: bool = told(TOLD["on_policy"], False)
        temperature: float = told(TOLD["temperature"], 1.0)
        beta: float = told(TOLD["beta"], 0.5)
        hard_label_weight: float = told(TOLD["hard_label_weight"], 0.0)
        match: list[Match] | None = told(TOLD["match"], None)  # noqa: RUF009  a field
        match_weight: float = told(TOLD["match_weight"], 1.0)
        num_generations: int = told(TOLD["num_generations"], 1)
        max_completion_length: int | None = told(TOLD["max_completion_length"], None)
        sampling_temperature: float = told(TOLD["sampling_temperature"], 1.0)
        disable_dropout: bool = told("train without dropout", False)

        def __post_init__(self) -> None:
            super().__post_init__()
            for name in ("temperature", "num_generations", "match_weight"):
                if getattr(self, name) <= 0:
                    raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
            if self.sampling_temperature < 0:
                raise ValueError(
                    f"sampling_temperature must be 0 or more, not {self.sampling_temperature}"
                )
            if self.top_k != "full" and self.top_k < 1:
                raise ValueError(f"top_k must be 1 or more, or full, not {self.top_k}")
            for name in ("beta", "hard_label_weight"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
            if self.loss_type == "sequence" and self.on_policy:
                raise ValueError(
                    "with loss sequence the teacher writes, with on_policy the student: leave one "
                    "of them out"
                )
            if self.loss_type == "sequence" and self.match:
                raise ValueError("match goes with a loss between distributions, not with sequence")

    return DistillConfig


def setting(settings: Mapping[str, Any], name: str) -> Any:
    """A field as it was set, or as it is where it wasn't."""
    if name in settings:
        return settings[name]
    return next(f.default for f in dataclasses.fields(distill_config()) if f.name == name)


def kept_of(settings: Mapping[str, Any]) -> int | None:
    """How many tokens of a distribution are kept; None for all."""
    top_k = setting(settings, "top_k")
    return None if top_k == "full" else int(top_k)


def asks(settings: Mapping[str, Any]) -> bool:
    """Whether answers are written in the run, and not read from its rows."""
    return bool(settings.get("on_policy")) or settings.get("loss_type") == "sequence"
