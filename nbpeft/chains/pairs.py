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
    """Samples answers from a policy, and has the first two that differ ranked."""

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
        """Of each prompt chosen and rejected, and how sure the judge is; {} where none differ."""
        with self.handle.answering_as(self.label, self.state) as model:
            how = {"temperature": self.temperature, "top_k": 0, "top_p": 1.0}
            writer = Writer(model, self.tokenizer, self.longest, self.each, how)
            answers = writer.sampled(rows)
        pairs = [
            _differing(answers[start : start + self.each])
            for start in range(0, len(answers), self.each)
        ]
        found = [pair for pair in pairs if pair is not None]
        shares = iter(self.judge.prefers(found) if found else [])
        return [{} if pair is None else _row(*pair, next(shares)) for pair in pairs]


def _differing(answers: Sequence[Answered]) -> tuple[Answered, Answered] | None:
    first = next((a for a in answers if a.text), None)
    if first is None:
        return None
    other = next((a for a in answers if a.text and a.text != first.text), None)
    return None if other is None else (first, other)


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
