"""Objectives that are several runs, one after the other: feedback is made first, then learned from.

`nbpeft.chains` goes through the stages; what is here says what they take, and finds who judges.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, RunError
from nbpeft.objectives import Objective
from nbpeft.objectives._reserved import DPO
from nbpeft.objectives._rl_config import longest_answer
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from nbpeft.data import Mix, Rows, Source
    from nbpeft.data.signals import Signal
    from nbpeft.feedback import Surroundings
    from nbpeft.feedback.judge import Judge, ModelJudge

OWN = ("num_generations", "max_completion_length", "temperature", "sft_learning_rate")
"""Fields of the config that are not the last run's."""


@functools.cache
def chain_config() -> type[Any]:
    """TRL's DPOConfig, which the last run takes, with what says how answers are made."""
    from trl.trainer.dpo_config import DPOConfig

    @dataclass
    class ChainConfig(DPOConfig):  # type: ignore[misc]
        """The config of a chain."""

        num_generations: int = field(
            default=4,
            metadata={"help": "answers sampled to each prompt; of their pairs the surest is kept"},
        )
        max_completion_length: int | None = field(
            default=None,
            metadata={"help": "tokens of an answer; by default half of max_length, at most 256"},
        )
        temperature: float = field(default=1.0, metadata={"help": "of sampling"})
        sft_learning_rate: float | None = field(
            default=None,
            metadata={"help": "of the run on revisions; the method's own by default"},
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.num_generations < 2:
                raise ValueError(f"num_generations must be 2 or more, not {self.num_generations}")

    return ChainConfig


@dataclass(frozen=True, kw_only=True)
class Chain(Objective):
    """A chain of runs that ends with one on preferences (DPO)."""

    revises: bool
    """Whether answers are revised by principles first, and learned from."""
    judge: Judge | None = None
    """Once it is bound to a kernel; likewise what follows."""
    reviser: ModelJudge | None = None
    """Who criticizes and revises: the judge, or the model where a function judges."""
    principles: tuple[str, ...] = ()
    rounds: int = 1
    longest: int = 0
    """Tokens of an answer."""

    def bound(self, around: Surroundings) -> Objective:
        """With the judge that the request names, and its rubric or principles."""
        from nbpeft.feedback.finding import judge_of, reviser_of

        request = around.request
        principles = tuple(request.principles or ())
        if self.revises and not principles:
            raise RequestError(
                f"{self.name} needs principles: write them in the body as a list, as in "
                'principles: ["Be polite.", "Be short."].'
            )
        rounds = 1 if request.rounds is None else request.rounds
        if rounds < 1:
            raise RequestError(f"rounds must be 1 or more, not {rounds}.")
        judge = judge_of(around, rubric_of(principles))
        return dataclasses.replace(
            self,
            judge=judge,
            reviser=reviser_of(around, judge, rubric_of(principles)) if self.revises else None,
            principles=principles,
            rounds=rounds,
            longest=longest_answer(around.settings),
        )

    def config_class(self) -> type[Any]:
        """That of the last run, and how answers are made."""
        return chain_config()

    def trainer_class(self) -> type[Any]:
        """None: each stage has its own."""
        raise RunError(
            f"{self.name} is several runs, each of which is checked when it begins: its memory "
            "can't be told before their rows are made"
        )

    def reading(self, loss_on: LossOn) -> Signal:
        """Prompts that leave room for their answers."""
        from nbpeft.data.signals import Prompts

        return Prompts(max_new_tokens=self.longest)

    def rows(
        self,
        source: Source | Mix,
        tokenizer: Any,
        *,
        columns: Mapping[str, str] | None,
        eval: float | Source | Mix | None,
        max_length: int,
        loss_on: LossOn,
    ) -> Rows:
        """Prompts to be answered; the last run holds out some of the pairs."""
        return super().rows(
            source, tokenizer, columns=columns, eval=0, max_length=max_length, loss_on=loss_on
        )

    def accepted(self, rows: Rows, tokenizer: Any) -> Rows:
        """Prompts with what the judge wants beside."""
        first = next(iter(rows.train))
        assert self.judge is not None
        self.judge.check(tuple(name for name in first if name not in ("input_ids", "prompt")))
        return rows


def rubric_of(principles: tuple[str, ...]) -> str:
    """Principles as a rubric; '' for none."""
    if not principles:
        return ""
    return "The better answer keeps to these principles:\n" + "\n".join(
        f"- {p}" for p in principles
    )


def chain(name: str, summary: str, paper: str, *, takes: frozenset[str], revises: bool) -> Chain:
    """An entry."""
    return Chain(
        name=name,
        summary=summary,
        paper=paper,
        signal="prompts",
        gives=frozenset({"causal logits"}),
        learning_rate_factor=0.25,
        defaults={"remove_unused_columns": False},
        aliases={"loss": "loss_type"},
        reserved=DPO,
        takes=takes,
        revises=revises,
    )
