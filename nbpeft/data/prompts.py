"""Rows as questions: what a row asks, and the answer that it holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nbpeft.data.finding.sources import Source
from nbpeft.data.reading.checks import check_rows
from nbpeft.data.reading.detect import choose
from nbpeft.data.reading.examples import Chat, Pair, Written, texts_of
from nbpeft.data.reading.formats import SFT
from nbpeft.errors import DataError, quoted

WORDS = 8
"""How many words of a text open a completion."""

Prompt = str | list[dict[str, Any]]


def prompts(
    source: Source,
    rows: Sequence[int],
    *,
    formats: tuple[str, ...] = SFT,
    columns: Mapping[str, str] | None = None,
) -> list[tuple[Prompt, str]]:
    """(prompt, expected answer) of some rows.

    Args:
        rows: numbers of rows, counted from 0; only these are read and checked.
        formats: names in `formats.FORMATS` that the rows may have.
        columns: a format's column name to the user's, such as {"prompt": "question"}.

    Raises:
        DataError: no format fits, there is no such row, or one of them can't be read.
    """
    size = len(source.dataset)
    beyond = [row for row in rows if not 0 <= row < size]
    if beyond:
        raise DataError(
            f"There is no row {beyond[0]} in {quoted(source.label)}: "
            + (f"its {size:,} rows are 0 to {size - 1}." if size else "it has no rows.")
        )
    reading = choose(source.dataset, formats, columns, source.label)
    chosen = source.dataset.with_format(None).select(rows)
    check_rows(chosen, reading, source.label, numbers=rows)
    return [prompt_and_answer(texts_of(reading.example(row))[0]) for row in chosen]


def prompt_and_answer(example: Written) -> tuple[Prompt, str]:
    """What an example asks and what it answers: a chat's last answer, a text's first words."""
    if isinstance(example, Pair):
        return example.prompt, example.completion
    if isinstance(example, Chat):
        last = max(i for i, m in enumerate(example.messages) if m["role"] == "assistant")
        asked = [{k: v for k, v in m.items() if v is not None} for m in example.messages[:last]]
        return asked, _said(example.messages[last])
    words = list(re.finditer(r"\S+", example.text))
    cut = words[min(WORDS, max(1, len(words) // 2)) - 1].end()
    return example.text[:cut], example.text[cut:].strip()


def _said(message: Mapping[str, Any]) -> str:
    """A message's text; a call of tools, which has none, as JSON."""
    content = message.get("content")
    return content if content is not None else json.dumps(message.get("tool_calls"), default=str)
