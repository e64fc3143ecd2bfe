"""A model or adapter of the kernel that judges answers by a rubric.

What it says is read from the probabilities of the next token, over the words that it may say: a
mark is the mean of 1 to 5 under them (as G-Eval has it, Liu et al. 2023, arXiv:2303.16634), and of
two answers one is better by the probability of its number, asked in both orders, since judges
prefer a place (Lee et al. 2023, arXiv:2309.00267). No free text is parsed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nbpeft.data import Rendering
from nbpeft.errors import ModelError, listed
from nbpeft.feedback.answers import Answered
from nbpeft.feedback.functions import Function
from nbpeft.generating import next_logits

if TYPE_CHECKING:
    from nbpeft.session.models import Handle

MARKS = ("1", "2", "3", "4", "5")
SIDES = ("1", "2")
MARK = "How good is the answer, from 1 (bad) to 5 (very good)? Give the mark alone."
BETTER = "Which answer is better, 1 or 2? Give its number alone."
REFERENCES = ("reference", "reference_answer", "completion", "answer", "ideal")
"""Columns that may hold an answer to compare with, the first that is there."""


class Judge(Protocol):
    """Marks answers, and says which of two is better."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    @property
    def swaps(self) -> bool:
        """Whether it answers on the base that is trained, which must be put aside."""

    def check(self, columns: Collection[str]) -> None:
        """Refuse rows that have not what it needs; RequestError."""

    def marks(self, answers: Sequence[Answered]) -> list[float]:
        """A number an answer, the higher the better."""

    def prefers(self, pairs: Sequence[tuple[Answered, Answered]]) -> list[float]:
        """How likely it is that the first of each pair is the better one; 0.5 is a tie."""


@dataclass(frozen=True)
class ModelJudge:
    """A model that is asked with the rubric."""

    name: str
    handle: Handle
    label: str | None
    """The adapter that it answers as; None is the base."""
    tokenizer: Any
    rendering: Rendering
    rubric: str
    swaps: bool
    state: str | None = None
    """The precision of the base, where the base judges."""

    def check(self, columns: Collection[str]) -> None:
        """It needs no columns; an answer to compare with may be in one."""

    def marks(self, answers: Sequence[Answered]) -> list[float]:
        """From 1 to 5."""
        shares = self._shares([self._question(a) for a in answers], "Mark:", MARKS)
        return [sum(int(m) * p for m, p in zip(MARKS, row, strict=True)) for row in shares]

    def prefers(self, pairs: Sequence[tuple[Answered, Answered]]) -> list[float]:
        """The mean over both orders."""
        orders = [self._two(a, b) for a, b in pairs] + [self._two(b, a) for a, b in pairs]
        shares = self._shares(orders, "Better answer:", SIDES)
        half = len(pairs)
        return [(shares[i][0] + shares[half + i][1]) / 2 for i in range(half)]

    def _question(self, answer: Answered) -> str:
        reference = reference_of(answer)
        good = f"A good answer: {reference}\n" if reference else ""
        return f"{self.rubric}\n\nQuestion: {answer.asked}\n{good}Answer: {answer.text}\n{MARK}"

    def _two(self, first: Answered, second: Answered) -> str:
        return (
            f"{self.rubric}\n\nQuestion: {first.asked}\nAnswer 1: {first.text}\n"
            f"Answer 2: {second.text}\n{BETTER}"
        )

    def _shares(
        self, questions: Sequence[str], opening: str, words: Sequence[str]
    ) -> list[list[float]]:
        """Of each question, how likely each word is where one of them comes next."""
        import torch

        begun, tokens = next_words(self.tokenizer, opening, words)
        asked = [self.rendering.prompt_ids(self.tokenizer, q) + begun for q in questions]
        with self.handle.answering_as(self.label, self.state) as model, torch.no_grad():
            logits = next_logits(model, self.tokenizer, asked)
        shares: list[list[float]] = logits[:, tokens].float().softmax(-1).tolist()
        return shares


@dataclass(frozen=True)
class FunctionJudge:
    """A function of the user's that judges in a model's place."""

    function: Function

    @property
    def name(self) -> str:
        """The function's."""
        return self.function.name

    @property
    def swaps(self) -> bool:
        """It has nothing to do with the model."""
        return False

    def check(self, columns: Collection[str]) -> None:
        """As the function can be called."""
        self.function.check(columns)

    def marks(self, answers: Sequence[Answered]) -> list[float]:
        """What the function says."""
        return self.function.rewards(answers)

    def prefers(self, pairs: Sequence[tuple[Answered, Answered]]) -> list[float]:
        """The answer with the higher number, for sure."""
        every = self.function.rewards([answer for pair in pairs for answer in pair])
        return [
            0.5 + 0.5 * ((a > b) - (a < b)) for a, b in zip(every[::2], every[1::2], strict=True)
        ]


@dataclass(frozen=True)
class Judged:
    """The marks of a judge as a reward."""

    judge: Judge

    @property
    def name(self) -> str:
        """The judge's."""
        return self.judge.name

    @property
    def swaps(self) -> bool:
        """Whether the judge does."""
        return self.judge.swaps

    def check(self, columns: Collection[str]) -> None:
        """As the judge does."""
        self.judge.check(columns)

    def rewards(self, answers: Sequence[Answered]) -> list[float]:
        """The marks."""
        return self.judge.marks(answers)


def next_words(tokenizer: Any, opening: str, words: Sequence[str]) -> tuple[list[int], list[int]]:
    """(the tokens of an opening, the token by which each word goes on).

    ModelError where the tokenizer writes two of the words with the same next token.
    """
    written = [
        list(tokenizer(f"{opening} {word}", add_special_tokens=False)["input_ids"])
        for word in words
    ]
    shared = 0
    while all(len(ids) > shared + 1 and ids[shared] == written[0][shared] for ids in written):
        shared += 1
    tokens = [ids[shared] for ids in written]
    if len(set(tokens)) < len(words):
        raise ModelError(
            f"This tokenizer can't tell {listed(words)} apart by one token, so its model can't "
            "judge; name another judge, or a function: --judge NAME."
        )
    return written[0][:shared], tokens


def reference_of(answer: Answered) -> str:
    """An answer to compare with, from the row's other columns; '' where there is none."""
    for name in REFERENCES:
        value = answer.beside.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and isinstance(value[-1], dict):
            return str(value[-1].get("content", ""))
    return ""
