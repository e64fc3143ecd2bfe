"""What was rated, as rows: a list of dicts, one an answer, that every front door takes as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

Row = dict[str, Any]
MIDDLE = 0.5
"""The score that is neither good nor bad."""


class Ratings(list[Row]):
    """Rows `prompt`, `completion`, `score` (0 worst to 1 best), `adapter`, `group`, `seed`.

    A group is a card: the answers that stood side by side. `--data NAME` takes it as it is;
    `preferences` and `thumbs` are what DPO and KTO train on.
    """

    def preferences(self) -> list[Row]:
        """Rows `prompt`, `chosen`, `rejected`: every two answers of a card that differ in score."""
        return [
            {"prompt": prompt, "chosen": better["completion"], "rejected": worse["completion"]}
            for prompt, answers in self._cards()
            for better in answers
            for worse in answers
            if better["score"] > worse["score"]
        ]

    def thumbs(self) -> list[Row]:
        """Rows `prompt`, `completion`, `label`: True above the middle, False below.

        What stands in the very middle (a mark of 3, the second of three) says neither and is left
        out.
        """
        return [
            {
                "prompt": prompt,
                "completion": row["completion"],
                "label": row["score"] > MIDDLE,
            }
            for prompt, answers in self._cards()
            for row in answers
            if row["score"] != MIDDLE
        ]

    def _cards(self) -> Iterator[tuple[Any, list[Row]]]:
        """(prompt, answers) of each card; a text that several gave stands once."""
        for _, rows in groupby(self, key=lambda row: row["group"]):
            answers = {str(row["completion"]): row for row in rows}
            yield next(iter(answers.values()))["prompt"], list(answers.values())


def alike(rows: Iterable[Row]) -> list[Row]:
    """All prompts as chats where one of them is: a column holds texts or chats, not both."""
    rows = list(rows)
    if not any(isinstance(row["prompt"], list) for row in rows):
        return rows
    return [_as_chat(row) for row in rows]


def _as_chat(row: Row) -> Row:
    if isinstance(row["prompt"], list):
        return row
    return row | {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }
