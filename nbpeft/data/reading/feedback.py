"""The shapes that judgements come in: preferences, thumbs, marks, labels, prompts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbpeft.data.reading.examples import Example, Preference, Said
from nbpeft.data.reading.implicit import parted
from nbpeft.data.reading.shapes import Cell, Format

PROMPT = Cell(
    "a string or a chat, or nothing where the answers hold it",
    string=True,
    chat=True,
    spelled=True,
    optional=True,
    also=("question", "query", "instruction", "input", "problem", "request", "user", "human"),
)


def _answer(wants: str, *also: str) -> Cell:
    return Cell(wants, string=True, chat=True, spelled=True, answer=True, alone=True, also=also)


def _preference(row: Mapping[str, Any]) -> Preference:
    prompt, [chosen, rejected] = parted(row.get("prompt"), [row["chosen"], row["rejected"]])
    return Preference(prompt, chosen, rejected)


def _preference_problem(example: Example) -> tuple[str, str] | None:
    assert isinstance(example, Preference)
    if example.chosen == example.rejected:
        return "rejected", "it is the same answer as chosen, so nothing is preferred; drop the row"
    for name, answer in (("chosen", example.chosen), ("rejected", example.rejected)):
        problem = _empty(answer)
        if problem:
            return name, problem
    return None


def _empty(answer: Said) -> str | None:
    """Why there is no answer beside the prompt; None where there is one."""
    if isinstance(answer, str):
        said = answer.strip()
    else:
        said = "".join(m["role"] for m in answer if m["role"] == "assistant")
    return None if said else "beside the prompt it holds no answer; fill it in or drop the row"


FEEDBACK = (
    Format(
        "preference",
        {
            "prompt": PROMPT,
            "chosen": _answer(
                "the better answer: a string or a chat",
                "accepted", "preferred", "positive", "good", "better", "best", "winner", "win",
                "chosen_response", "response_chosen", "answer_chosen", "response_j", "y_w",
            ),
            "rejected": _answer(
                "the worse one, likewise",
                "dispreferred", "negative", "bad", "worse", "worst", "loser", "lose",
                "rejected_response", "response_rejected", "answer_rejected", "response_k", "y_l",
            ),
        },
        _preference,
        problem=_preference_problem,
        mixed=True,
    ),
)  # fmt: skip
"""Every format of judgements. A new one is an entry here."""

PREFERENCES = ("preference",)
"""What preferences can be read from."""
