"""Rewards that are Python functions of the user's: `(prompts, completions, **columns) -> floats`.

TRL's reward functions are called so too; an answer is always a plain string here.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from nbpeft.errors import RequestError, RunError, listed, quoted
from nbpeft.feedback.answers import Answered

OURS = ("prompts", "completions")


@dataclass(frozen=True)
class Function:
    """A function of the kernel as a reward."""

    name: str
    call: Callable[..., Any]

    @property
    def swaps(self) -> bool:
        """It has nothing to do with the model."""
        return False

    def check(self, columns: Collection[str]) -> None:
        """Refuse a function that can't be called with prompts, completions and these columns."""
        parameters = _parameters(self.call)
        if parameters is None:
            return
        wanted = [
            p.name
            for p in parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        lacking = [name for name in wanted if name not in (*OURS, *columns)]
        if lacking:
            raise RequestError(
                f"The reward {self.name} wants {quoted(lacking[0])}, which is no column of the "
                f"rows ({listed(columns)}): it is called with prompts, completions and these."
            )
        if not _takes(parameters, "completions"):
            raise RequestError(
                f"The reward {self.name} takes no completions: write it as "
                f"def {self.name}(prompts, completions, **columns), returning a number an answer."
            )

    def rewards(self, answers: Sequence[Answered]) -> list[float]:
        """What the function says; RunError names it, a prompt, and what went wrong."""
        every = {
            "prompts": [answer.prompt for answer in answers],
            "completions": [answer.text for answer in answers],
            **{name: [a.beside[name] for a in answers] for name in answers[0].beside},
        }
        parameters = _parameters(self.call)
        given = {n: v for n, v in every.items() if parameters is None or _takes(parameters, n)}
        try:
            found = self.call(**given)
        except Exception as error:
            raise RunError(
                f"The reward {self.name} failed on answers to {_prompts(answers)}: {_last(error)}."
            ) from error
        return self._numbers(found, answers)

    def _numbers(self, found: Any, answers: Sequence[Answered]) -> list[float]:
        wants = f"a list of {len(answers)} numbers, one an answer, is wanted"
        try:
            numbers = [float(value) for value in found]
        except (TypeError, ValueError):
            raise RunError(f"The reward {self.name} gave {quoted(found)}: {wants}.") from None
        if len(numbers) != len(answers):
            raise RunError(
                f"The reward {self.name} gave {len(numbers)} numbers for {len(answers)} answers: "
                f"{wants}."
            )
        for number, answer in zip(numbers, answers, strict=True):
            if not math.isfinite(number):
                raise RunError(
                    f"The reward {self.name} gave {number} for the answer {quoted(answer.text)} to "
                    f"{quoted(answer.asked)}: a finite number is wanted."
                )
        return numbers


def _parameters(call: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """What a callable takes; None where it doesn't say (some built-ins)."""
    try:
        return list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return None


def _takes(parameters: Sequence[inspect.Parameter], name: str) -> bool:
    return any(
        p.kind is p.VAR_KEYWORD or (p.name == name and p.kind is not p.POSITIONAL_ONLY)
        for p in parameters
    )


def _prompts(answers: Sequence[Answered]) -> str:
    """Which prompts a batch holds, by the first."""
    asked = list(dict.fromkeys(answer.asked for answer in answers))
    rest = f" and {len(asked) - 1} more" if len(asked) > 1 else ""
    return quoted(asked[0]) + rest


def _last(error: Exception) -> str:
    """The last line of a traceback, and where in the user's code it was."""
    said = " ".join(str(error).split())
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    own = traceback.extract_tb(error.__traceback__)[1:]  # the first is the call itself
    return f"{line.rstrip('.')} (line {own[-1].lineno} of {own[-1].name})" if own else line
