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


@functools.cache
def distill_config() -> type[Any]:
    """TrainingArguments of transformers, with what distillation has beside."""
    from transformers import TrainingArguments

    @dataclass
    class DistillConfig(TrainingArguments):
        """The config of a run that learns from a teacher."""

        remove_unused_columns: bool = told("prompts are read as they stand", False)
        max_length: int | None = told("tokens of a prompt with its answer", None)
        loss_type: Loss = told(  # noqa: RUF009  a field
            "kl (forward), reverse_kl or jsd between next-token distributions, or sequence: the "
            "teacher writes, its text is learned",
            "kl",
        )
        top_k: TopK = told(  # noqa: RUF009  a field
            "how many of the teacher's likeliest tokens are kept of each distribution, beside the "
            "mass of the others; full keeps all",
            64,
        )
        on_policy: bool = told("the student writes the answers, anew each step", False)
        temperature: float = told("what both models' logits are divided by", 1.0)
        beta: float = told("jsd: the teacher's share of the mixture", 0.5)
        hard_label_weight: float = told(
            "share of the loss that the rows' own tokens have (1 - alpha of Hinton et al.)", 0.0
        )
        match: list[Match] | None = told(  # noqa: RUF009  a field
            "what of a teacher that the student was cut from is matched beside: hidden, attention",
            None,
        )
        match_weight: float = told("what the matched states count beside the loss", 1.0)
        num_generations: int = told("answers to each prompt", 1)
        max_completion_length: int | None = told(
            "tokens that an answer may have; by default half of max_length, at most 256", None
        )
        sampling_temperature: float = told("of sampling answers; 0 takes the likeliest token", 1.0)
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
