"""Rows as examples to show in a prompt: drawn at random, the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.data.finding.mix import Mix
from nbpeft.data.finding.sources import Source
from nbpeft.data.prepare import FINGERPRINT, digest_of
from nbpeft.data.prompts import Prompt, prompt_and_answer, prompts
from nbpeft.data.reading.examples import texts_of
from nbpeft.data.splitting.copies import canonical
from nbpeft.data.splitting.parts import Part, split
from nbpeft.data.splitting.split import SEED
from nbpeft.data.tokens.rendering import Rendering

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 64
"""Rows that are read together while some that fit are looked for."""


@dataclass(frozen=True)
class Shot:
    """A row to show."""

    prompt: Prompt
    answer: str
    number: int
    """Counted from 0, as the user knows the row,"""
    label: str
    """and the data that it is of."""


def examples_of(source: Source, columns: Mapping[str, str] | None) -> Iterator[Shot]:
    """The rows of a source in a random order; each is read, and checked, once it is wanted.

    Raises:
        DataError: no format fits, or a row can't be read.
    """
    for chosen in _drawn(len(source.dataset)):
        pairs = prompts(source, chosen, columns=columns)
        for (prompt, answer), number in zip(pairs, chosen, strict=True):
            yield Shot(prompt, answer, number, source.label)


def examples_trained_on(parts: Sequence[Part]) -> Iterator[Shot]:
    """The rows of several parts in a random order; of preferences the better answer."""
    places = [(part, place) for part in parts for place in range(len(part))]
    for chosen in _drawn(len(places)):
        for part, place in (places[number] for number in chosen):
            one = part.some([place])
            prompt, answer = prompt_and_answer(texts_of(one.examples(1)[0])[0])
            yield Shot(prompt, answer, one.numbers[0], part.label)


def training_parts(
    source: Source | Mix,
    *,
    formats: tuple[str, ...],
    columns: Mapping[str, str] | None,
    eval: float | int | Source | Mix | None,
    rendering: Rendering,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[list[Part], str]:
    """(the rows that a run trains on, their fingerprint as `tokenize` gives it).

    Args:
        formats, columns, eval: as `tokenize` takes them.
        rendering: how that run wrote its rows.

    Raises:
        DataError: as `tokenize`, but for what only tokens show.
    """
    parts = split(source, formats, columns, eval).train
    digest = digest_of(rendering, tokenizer)
    for part in parts:
        for row in part.dataset:
            digest.update(canonical(part.reading.example(row)))
    return parts, digest.hexdigest()[:FINGERPRINT]


def _drawn(rows: int) -> Iterator[list[int]]:
    """All numbers below `rows` in a random order, some at a time."""
    order: Any = random.Random(SEED).sample(range(rows), rows)
    for start in range(0, rows, AT_ONCE):
        yield order[start : start + AT_ONCE]
