"""Who answers what: a turn a card, drawn before anything is written."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbpeft.comparison import Prompt
from nbpeft.rating.request import FEWEST, MOST, RateRequest


@dataclass(frozen=True)
class Turn:
    """One prompt, and who answers it."""

    number: int
    prompt: Prompt
    adapters: tuple[str, ...]
    """Labels, each once; 'base' is the model alone."""
    answers: int
    """Wanted in all: one of each adapter, or several of a lone one."""
    seed: int | None
    """None is greedy."""
    order: int
    """Seed of the order in which the answers are shown."""


def draw(request: RateRequest, labels: Sequence[str], prompts: Sequence[Prompt]) -> list[Turn]:
    """A turn a prompt, in their order; to be marked, one a prompt and adapter in a random order.

    Args:
        labels: the adapters that answer, at least one.
    """
    order = random.Random(request.seed)
    if request.mark:
        pairs: list[tuple[Prompt, tuple[str, ...]]] = [
            (p, (name,)) for p in prompts for name in labels
        ]
        order.shuffle(pairs)  # in the order of the names, who answers would be plain
        wanted = 1
    elif len(labels) == 1:
        pairs = [(prompt, tuple(labels)) for prompt in prompts]
        wanted = request.answers or FEWEST
    else:
        wanted = request.answers or min(len(labels), MOST)
        pairs = [(prompt, tuple(order.sample(labels, wanted))) for prompt in prompts]
    # Each prompt is sampled with numbers of its own.
    seeds = [request.seed + number for number in range(len(pairs))]
    sampled = request.sample or wanted > len(pairs[0][1])
    return [
        Turn(number, *pair, wanted, seeds[number] if sampled else None, order.getrandbits(32))
        for number, pair in enumerate(pairs)
    ]


def unrated(turns: Iterable[Turn], rows: Iterable[Mapping[str, Any]]) -> list[Turn]:
    """The turns that are no card in the book yet: the same prompt and adapters, sampled alike."""
    cards: dict[str, dict[str, set[Any]]] = {}
    for row in rows:
        of_prompt = cards.setdefault(_key(row["prompt"]), {})
        of_prompt.setdefault(row["group"], set()).add((row["adapter"], row["seed"]))
    return [
        turn
        for turn in turns
        if not any(
            {(adapter, turn.seed) for adapter in turn.adapters} <= answered
            for answered in cards.get(_key(turn.prompt), {}).values()
        )
    ]


def _key(prompt: Prompt) -> str:
    return json.dumps(prompt, sort_keys=True)
