"""Answers that are criticized and revised by principles, as rows for SFT (Bai et al. 2022,
arXiv:2212.08073, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from nbpeft.chains.pairs import said
from nbpeft.feedback import Answered
from nbpeft.feedback.judge import ModelJudge
from nbpeft.generating import generate
from nbpeft.objectives._rollouts import Writer
from nbpeft.session.models import Handle

CRITIQUE = "Read your answer again. Where does it break this principle? {principle}"
REVISION = "Write the answer again, so that it keeps to the principle. Give the answer alone."


@dataclass(frozen=True)
class Revising:
    """Answers prompts as the policy, and has the answers revised, a principle a round."""

    handle: Handle
    label: str | None
    state: str
    tokenizer: Any
    reviser: ModelJudge
    principles: Sequence[str]
    rounds: int
    longest: int
    temperature: float
    seed: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of each prompt the last revision as its completion, with what led to it beside."""
        with self.handle.answering_as(self.label, self.state) as model:
            how = {"temperature": self.temperature, "top_k": 0, "top_p": 1.0}
            answers = Writer(model, self.tokenizer, self.longest, 1, how).sampled(rows)
        steps: list[list[dict[str, str]]] = [[] for _ in answers]
        revised = answers
        for number in range(self.rounds):
            drawn = [self._principle(answer, number) for answer in answers]
            critiques = self._say([critique_of(a, p) for a, p in zip(revised, drawn, strict=True)])
            asked = [
                revision_of(a, p, c) for a, p, c in zip(revised, drawn, critiques, strict=True)
            ]
            texts = self._say(asked)
            for kept, principle, critique in zip(steps, drawn, critiques, strict=True):
                kept.append({"principle": principle, "critique": critique})
            # An empty revision is none.
            revised = [
                replace(a, text=text or a.text) for a, text in zip(revised, texts, strict=True)
            ]
        return [
            {
                "prompt": now.prompt,
                "completion": said(now),
                "answer_before": before.text,
                "steps": told,
            }
            for before, now, told in zip(answers, revised, steps, strict=True)
        ]

    def _principle(self, answer: Answered, number: int) -> str:
        """Drawn anew each round; the same for the same prompt."""
        return Random(f"{self.seed} {number} {answer.asked}").choice(list(self.principles))

    def _say(self, chats: Sequence[list[dict[str, str]]]) -> list[str]:
        import torch

        reviser = self.reviser
        prompts = [
            reviser.rendering.prompt_ids(reviser.tokenizer, written(chat, reviser))
            for chat in chats
        ]
        with reviser.handle.answering_as(reviser.label, reviser.state) as model, torch.no_grad():
            found = generate(model, reviser.tokenizer, prompts, max_new_tokens=self.longest)
        return [text for text, _ in found]


def critique_of(answer: Answered, principle: str) -> list[dict[str, str]]:
    """The chat in which an answer is criticized."""
    return [
        *_asked(answer),
        {"role": "assistant", "content": answer.text},
        {"role": "user", "content": CRITIQUE.format(principle=principle)},
    ]


def revision_of(answer: Answered, principle: str, critique: str) -> list[dict[str, str]]:
    """The chat in which it is then revised."""
    return [
        *critique_of(answer, principle),
        {"role": "assistant", "content": critique},
        {"role": "user", "content": REVISION},
    ]


def _asked(answer: Answered) -> list[dict[str, str]]:
    if isinstance(answer.prompt, str):
        return [{"role": "user", "content": answer.prompt}]
    return list(answer.prompt)


def written(chat: list[dict[str, str]], reviser: ModelJudge) -> str | list[dict[str, str]]:
    """A chat as the reviser reads it: as text, where it knows no chats."""
    if reviser.rendering.kind in ("chat", "plain"):
        return chat
    lines = [f"{m['role'].capitalize()}: {m['content']}" for m in chat]
    return "\n".join([*lines, "Assistant:"])
