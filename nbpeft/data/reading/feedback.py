"""The shapes that judgements come in: preferences, thumbs, marks, labels, prompts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbpeft.data.reading.alpaca import ASKED_ALPACA
from nbpeft.data.reading.examples import (
    Asked,
    Example,
    Labelled,
    Preference,
    Rating,
    Said,
    Scored,
)
from nbpeft.data.reading.implicit import parted
from nbpeft.data.reading.shapes import REST, Cell, Format
from nbpeft.data.reading.values import LABELS, MARKS, THUMBS

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


def _rating(row: Mapping[str, Any]) -> Rating:
    prompt, [completion] = parted(row.get("prompt"), [row["completion"]])
    return Rating(prompt, completion, row["label"])


def _scored(row: Mapping[str, Any]) -> Scored:
    prompt, [completion] = parted(row.get("prompt"), [row["completion"]])
    group = row.get("group")
    return Scored(prompt, completion, row["score"], None if group is None else str(group))


def _completion_problem(example: Example) -> tuple[str, str] | None:
    assert isinstance(example, Rating | Scored)
    problem = _empty(example.completion)
    return None if problem is None else ("completion", problem)


def _labelled(row: Mapping[str, Any]) -> Labelled:
    return Labelled(row["text"], row["label"])


def _asked(row: Mapping[str, Any]) -> Asked:
    prompt = row["prompt"]
    if not isinstance(prompt, str) and prompt[-1]["role"] == "assistant":
        prompt = prompt[:-1]
    return Asked(prompt, row[REST])


def _asked_problem(example: Example) -> tuple[str, str] | None:
    assert isinstance(example, Asked)
    if isinstance(example.prompt, str) or any(m["role"] != "system" for m in example.prompt):
        return None
    return "prompt", "nobody asks anything in it; fill it in or drop the row"


COMPLETION = _answer(
    "the answer: a string or a chat",
    "response", "answer", "output", "reply", "assistant", "generation", "generated_text",
    "messages", "conversation", "conversations", "chat",
)  # fmt: skip

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
    Format(
        "rating",
        {
            "prompt": PROMPT,
            "completion": COMPLETION,
            "label": Cell(
                "thumb up or down: True or False",
                values=THUMBS,
                also=(
                    "rating", "feedback", "thumb", "thumbs", "thumbs_up", "thumb_up", "vote",
                    "desirable", "is_desirable", "good", "is_good", "liked", "like", "accepted",
                    "preferred", "positive", "correct", "is_correct", "labels",
                ),
            ),
        },
        _rating,
        problem=_completion_problem,
        mixed=True,
    ),
    Format(
        "scored",
        {
            "prompt": PROMPT,
            "completion": COMPLETION,
            "score": Cell(
                "its mark: a number",
                values=MARKS,
                also=(
                    "rating", "mark", "marks", "grade", "stars", "points", "reward", "quality",
                    "overall_score", "rank_score", "label", "human_score",
                ),
            ),
            "group": Cell("which answers were marked together", values=LABELS, optional=True),
        },
        _scored,
        problem=_completion_problem,
        mixed=True,
        after="rating",
    ),
    Format(
        "labelled",
        {
            "text": Cell(
                "a string",
                string=True,
                by_look=True,
                also=("sentence", "content", "review", "comment", "body", "tweet", "document"),
            ),
            "label": Cell(
                "its class: a name or a whole number",
                values=LABELS,
                by_look=True,
                also=(
                    "labels", "sentiment", "category", "class", "target", "topic", "intent",
                    "label_text", "label_name", "emotion", "stars",
                ),
            ),
        },
        _labelled,
    ),
    Format(
        "asked",
        {
            "prompt": Cell(
                "a string or a chat",
                string=True,
                chat=True,
                spelled=True,
                by_look=True,
                also=(*PROMPT.also, "messages", "conversation", "conversations", "chat", "text"),
            ),
        },
        _asked,
        problem=_asked_problem,
        rest=True,
    ),
    ASKED_ALPACA,
)  # fmt: skip
"""Every format of judgements. A new one is an entry here."""

PREFERENCES = ("preference", "rating", "scored")
"""What preferences can be read from, or made of."""
RATINGS = ("rating", "scored", "preference")
"""Likewise thumbs."""
LABELLED = ("labelled",)
"""What can be classified."""
ASKED = ("asked", "asked_alpaca")
"""What can be asked, to judge the answers."""
