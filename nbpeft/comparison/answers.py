"""Prompts through `generate`: one column, or several in one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    # By length, so that a batch holds little padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = [Answers([""] * len(prompts), 0, 0.0, columns) for _ in range(columns)]
    started = time.perf_counter()
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        rows = _generate(model, tokenizer, [prompts[i] for i in chosen] * columns, how, start)
        for place, (text, tokens) in enumerate(rows):
            column, row = divmod(place, len(chosen))
            found[column].texts[chosen[row]] = text
            found[column].new_tokens += tokens
    for column_answers in found:
        column_answers.seconds = time.perf_counter() - started
    return found


def _generate(
    model: Any, tokenizer: Any, batch: list[list[int]], how: Sampling, start: int
) -> list[tuple[str, int]]:
    """(text, new tokens) of each row; padded on the left, as generation goes on from the right."""
    import torch

    ends = _end_ids(model, tokenizer)
    filler = next((i for i in (tokenizer.pad_token_id, *ends) if i is not None), 0)
    longest = max(map(len, batch))
    ids = torch.tensor([[filler] * (longest - len(row)) + row for row in batch])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in batch])
    device = next(model.parameters()).device
    if how.seed is not None:
        # Anew for each batch: a column that ends early must not shift the others' numbers.
        torch.manual_seed(how.seed + start)
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=how.max_new_tokens,
            do_sample=how.seed is not None,
            num_beams=1,
            pad_token_id=filler,
            eos_token_id=ends or None,
        )
    new = output[:, longest:].tolist()
    lengths = [next((i + 1 for i, t in enumerate(row) if t in ends), len(row)) for row in new]
    texts: list[str] = tokenizer.batch_decode(
        [row[:length] for row, length in zip(new, lengths, strict=True)], skip_special_tokens=True
    )
    return [(text.strip(), length) for text, length in zip(texts, lengths, strict=True)]


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the model's own and the tokenizer's."""
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    return list(dict.fromkeys(i for i in (*own, tokenizer.eos_token_id) if i is not None))
