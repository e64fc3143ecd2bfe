"""Prompts answered by one column, or by several in one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nbpeft.generating import generate

BATCH = 8
"""Prompts in one generate."""

ROWS = 64
"""Rows in one generate when several columns share it: prompts times columns. Each row keeps its
own keys and values, so this bounds the memory."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    max_new_tokens: int = 64
    seed: int | None = None
    """None is greedy: the likeliest token."""


@dataclass
class Answers:
    """Of one column."""

    texts: list[str]
    """In the order of the prompts."""
    new_tokens: int
    seconds: float
    together: int


def answer(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], how: Sampling, columns: int = 1
) -> list[Answers]:
    """Answer all prompts; with several `columns`, rows of the batch are theirs in equal parts.

    prompts: token ids. Returns the answers of each column.
    """
    import torch

    # By length, so that a batch holds little padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = [Answers([""] * len(prompts), 0, 0.0, columns) for _ in range(columns)]
    started = time.perf_counter()
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        if how.seed is not None:
            # Anew for each batch: a column that ends early must not shift the others' numbers.
            torch.manual_seed(how.seed + start)
        with torch.inference_mode():
            rows = generate(
                model,
                tokenizer,
                [prompts[i] for i in chosen] * columns,
                max_new_tokens=how.max_new_tokens,
                sample=how.seed is not None,
                groups=columns,
            )
        for place, (text, tokens) in enumerate(rows):
            column, row = divmod(place, len(chosen))
            found[column].texts[chosen[row]] = text
            found[column].new_tokens += tokens
    for column_answers in found:
        column_answers.seconds = time.perf_counter() - started
    return found
