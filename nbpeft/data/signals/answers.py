"""Answers to imitate, and raw text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.data.reading.formats import SFT
from nbpeft.data.signals.base import Signal
from nbpeft.data.splitting.parts import Part, Parts, first_example
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.gate import refused
from nbpeft.data.tokens.masks import Encoder
from nbpeft.data.tokens.notes import notes_of
from nbpeft.data.tokens.rendering import Rendering, rendering_of
from nbpeft.data.tokens.sides import check_sides
from nbpeft.rendering import count, percent
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Answers(Signal):
    """Rows whose answers, or whole text, are trained."""

    formats: tuple[str, ...] = SFT
    loss_on: LossOn = "answers"
    """Which tokens are trained; raw text is trained whole."""
    apart: bool = False
    """Whether rows are for an encoder-decoder."""

    def check(self, parts: Parts) -> None:
        """Refuse what an encoder-decoder can't learn from."""
        if self.apart:
            check_sides([*parts.train, *parts.held_out], self.loss_on)

    def rendering(self, parts: Parts, tokenizer: PreTrainedTokenizerBase) -> Rendering:
        """As the tokenizer has it, each side apart for an encoder-decoder."""
        first = first_example([*parts.train, *parts.held_out])
        return rendering_of(first, tokenizer, apart=self.apart)

    def encoders(
        self,
        parts: Parts,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        max_length: int,
    ) -> Callable[[Part], Encoder]:
        """Encoders that mark what is trained."""
        return lambda part: Encoder(tokenizer, rendering, max_length, part.label, self.loss_on)

    def refusal(
        self, rendering: Rendering, counts: Counts, ends: Ends, label: str, max_length: int
    ) -> str | None:
        """Where nothing would be learned, or never to stop."""
        return refused(rendering, counts, ends, label, max_length=max_length, loss_on=self.loss_on)

    @property
    def unit(self) -> str:
        """What the length of a row counts."""
        return "tokens a side" if self.apart else "tokens a row"

    @property
    def measured(self) -> str:
        """Of which of a row's texts its length is, where it has several."""
        return " (the longer of prompt and answer)" if self.apart else ""

    def trained(
        self, rendering: Rendering, counts: Counts, ends: Ends, rows: int
    ) -> Iterator[tuple[str, str]]:
        """The share of trained tokens, and how many rows teach to stop."""
        share = percent(100 * counts.trained_tokens / max(1, counts.tokens))
        ended = f"trained in {count(counts.ended)} of {count(rows)} rows"
        yield "trained tokens", f"{share} of {count(counts.tokens)} ({self.asked(rendering)})"
        yield f"end token {ends.shown}".strip(), ended

    def asked(self, rendering: Rendering) -> str:
        """What says which tokens are trained."""
        return "raw text" if rendering.kind == "text" else f"--loss-on {self.loss_on}"

    def notes(
        self,
        rendering: Rendering,
        parts: Parts,
        tokenizer: PreTrainedTokenizerBase,
        *,
        train: Counts,
        held_out: Counts | None,
        max_length: int,
    ) -> list[str]:
        """How rows were written, masked, cut and dropped."""
        return notes_of(
            rendering,
            parts.train[0].reading,
            tokenizer,
            train=train,
            held_out=held_out,
            max_length=max_length,
            loss_on=self.loss_on,
        )
