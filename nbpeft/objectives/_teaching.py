"""The teacher in a run: it answers prompts, and says of each token of an answer what might come.

A teacher on the student's own weights (a context, an adapter) answers while what is trained is put
aside by its pointers; one with weights of its own answers from them. What all that it reads begins
with, a context mostly, is read once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from nbpeft.generating import new_tokens, shared_start
from nbpeft.guard import random_state_kept
from nbpeft.objectives._lessons import Lesson, Place
from nbpeft.objectives._rollouts import writing
from nbpeft.seam.packing import NOT_TRAINED, Packed, Padded, Prefixed

if TYPE_CHECKING:
    import torch

    from nbpeft.seam.prefix import Prefix
    from nbpeft.seam.probe import Choice

AT_ONCE = 16
"""Prompts that are answered, and texts that are read, together."""
WORTH_READING_ONCE = 16
"""Tokens that all texts begin with alike, from which on they are read once for all."""

TIMED = 32
"""Tokens of each answer that is timed."""

Answering = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Writing:
    """How answers are written."""

    tokenizer: Any
    longest: int
    temperature: float
    seed: int | None
    """Of each part of the prompts; None draws on from the random state as it is."""

    def written(
        self,
        model: Any,
        places: Sequence[Place],
        prompts: Sequence[list[int]],
        prefix: Prefix | None = None,
    ) -> list[list[int]]:
        """The tokens of the answers, in the order of the prompts."""
        import torch

        how: dict[str, Any] = {"do_sample": False}
        if self.temperature:
            how = {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        found: list[list[int]] = []
        with writing(model):
            for start in range(0, len(prompts), AT_ONCE):
                if self.seed is not None:
                    torch.manual_seed(Random(f"{self.seed} {places[start]}").getrandbits(31))
                found += new_tokens(
                    model,
                    self.tokenizer,
                    [list(prompt) for prompt in prompts[start : start + AT_ONCE]],
                    max_new_tokens=self.longest,
                    prefix=prefix,
                    **how,
                )
        return found


@dataclass
class Teaching:
    """Who teaches in this run."""

    answering: Answering
    """Makes the teacher answer, in eval mode."""
    writing: Writing
    autocast: Answering
    summary: Any
    """What is kept of a distribution: `nbpeft.objectives._divergences.summary`."""
    longest: int
    """Tokens of the longest text that it reads."""
    start: list[int] = field(default_factory=list)
    """What all that it reads begins with, where that is a context."""
    tokens: int = 0
    """That it read for targets, what all begin with counted once;"""
    spared: int = 0
    """those that it would have read with it before each text."""
    seconds: float = 0.0
    """That targets took."""
    _choice: Choice | None = None
    _prefix: Prefix | None = None
    _tried: bool = False
    _packs: bool = False
    """Whether packed texts may go on from the prefix."""

    def write(self, places: Sequence[Place], prompts: Sequence[list[int]]) -> list[list[int]]:
        """The teacher's answers to prompts as it reads them."""
        with self.answering() as model:
            return self.writing.written(model, places, prompts, self._read_once(model))

    def summaries(self, lessons: Sequence[Lesson]) -> torch.Tensor:
        """(tokens, …) what is kept of the distributions at the learned tokens, in their order."""
        import torch

        began = time.monotonic()
        with random_state_kept(), self.answering() as model, torch.no_grad():
            found = [
                self._summary(model, lessons[start : start + AT_ONCE])
                for start in range(0, len(lessons), AT_ONCE)
            ]
        self.seconds += time.monotonic() - began
        return torch.cat(found)

    def _summary(self, model: Any, lessons: Sequence[Lesson]) -> torch.Tensor:
        from nbpeft.seam.probe import moved
        from nbpeft.seam.scores import Whole

        choice = self._way(model)
        prefix = self._read_once(model)
        rows = [lesson.teacher() for lesson in lessons]
        layout: Any = Packed() if choice.way == "packed" else Padded(choice.filler)
        beside: dict[str, Any] = {}
        read = sum(len(row["input_ids"]) for row in rows)
        if prefix is not None and self._packs and all(map(self._goes_on, rows)):
            n = len(prefix.ids)
            rows = [{name: ids[n:] for name, ids in row.items()} for row in rows]
            layout, beside = Prefixed(n), {"past_key_values": prefix.frozen()}
            self.spared += n * len(rows)
            read -= n * len(rows)
        self.tokens += read
        batch = moved(layout(rows), next(model.parameters()).device) | beside
        scorer = choice.scorer or Whole(model)
        with scorer.over(batch), self.autocast():
            return scorer.values(batch, self.summary, batch["labels"])

    def _way(self, model: Any) -> Choice:
        """Tried out once; then bound to what answers, whose output layer an adapter may hold."""
        from nbpeft.seam.probe import bound, choose

        if self._choice is None:
            self._choice = choose(model, longest=self.longest, autocast=self.autocast)
        return bound(self._choice, model)

    def _read_once(self, model: Any) -> Prefix | None:
        """The keys and values of what all begin with; None where it isn't worth it or exact."""
        from nbpeft.seam.prefix import prefix_of
        from nbpeft.seam.sharing import prefixes

        if self._tried:
            return self._prefix
        self._tried = True
        if len(self.start) >= WORTH_READING_ONCE:
            import torch

            with torch.no_grad(), self.autocast():
                self._prefix = prefix_of(model, self.start, self.longest)
            if self._prefix is not None:
                self._packs = prefixes(model, self._way(model), self.autocast, self.longest)
                self.tokens += len(self.start)
        return self._prefix

    def _goes_on(self, row: dict[str, Any]) -> bool:
        """Whether a text goes on from the prefix, with a token before the first learned one."""
        assert self._prefix is not None
        return self._prefix.begins(row["input_ids"]) and (
            row["labels"][len(self._prefix.ids)] == NOT_TRAINED
        )


def start_of(prompts: Sequence[list[int]]) -> list[int]:
    """What the teacher's prompts all begin with; at least one token of each is left."""
    return shared_start([list(prompt) for prompt in prompts])


def tokens_per_second(model: Any, tokenizer: Any, prompts: Sequence[list[int]]) -> float:
    """How fast a model writes: the likeliest tokens after a few prompts, in one batch."""
    with random_state_kept(), writing(model):
        asked = [list(prompt) for prompt in prompts]

        def write(tokens: int) -> None:
            new_tokens(
                model, tokenizer, asked,
                max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False,
            )  # fmt: skip

        write(2)  # what is made once isn't counted
        began = time.monotonic()
        write(TIMED)
        return TIMED * len(prompts) / (time.monotonic() - began)
