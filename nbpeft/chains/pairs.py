"""Pairs of answers that a judge has ranked, as rows for DPO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nbpeft.errors import RunError
from nbpeft.feedback import Answered
from nbpeft.feedback.judge import Judge
from nbpeft.objectives._rollouts import Writer
from nbpeft.session.models import Handle


@dataclass(frozen=True)
class Pairing:
    """Samples answers from a policy, and has each that differs ranked against the first."""

    handle: Handle
    label: str | None
    """The adapter that is the policy; None is the base."""
    state: str
    tokenizer: Any
    judge: Judge
    longest: int
    each: int
    temperature: float

    def __call__(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of each prompt the surest pair, and how sure the judge is; {} where none differ."""
        with self.handle.answering_as(self.label, self.state) as model:
            how = {"temperature": self.temperature, "top_k": 0, "top_p": 1.0}
            writer = Writer(model, self.tokenizer, self.longest, self.each, how)
            answers = writer.sampled(rows)
        groups = [
            _differing(answers[start : start + self.each])
            for start in range(0, len(answers), self.each)
        ]
        pairs = [pair for group in groups for pair in group]
        shares = iter(self.judge.prefers(pairs) if pairs else [])
        return [_surest([_row(*pair, next(shares)) for pair in group]) for group in groups]


def _differing(answers: Sequence[Answered]) -> list[tuple[Answered, Answered]]:
    """The first answer with each that is another text; empty ones are none."""
    distinct = list({answer.text: answer for answer in answers if answer.text}.values())
    return [(distinct[0], other) for other in distinct[1:]]


def _surest(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of a prompt's pairs the one that the judge is the surest of; {} where it is of none."""
    return max((row for row in rows if row), key=lambda row: float(row["preference"]), default={})


def _row(first: Answered, second: Answered, share: float) -> dict[str, Any]:
    if share == 0.5:
        return {}
    chosen, rejected = (first, second) if share > 0.5 else (second, first)
    return {
        "prompt": chosen.prompt,
        "chosen": said(chosen),
        "rejected": said(rejected),
        "preference": max(share, 1 - share),
    }


def said(answer: Answered) -> str | list[dict[str, str]]:
    """An answer as its prompt is written: a string, or a message."""
    if isinstance(answer.prompt, str):
        return answer.text
    return [{"role": "assistant", "content": answer.text}]


def ranked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pairs that there are; RunError where no prompt gave one."""
    found = [row for row in rows if row]
    if not found:
        raise RunError(
            "No prompt gave a pair: all its answers were alike, or the judge found them as good; "
            "type a higher temperature, a larger num_generations or another --judge."
        )
    return found
