"""Raw text, joined and cut into blocks: nothing is cut off and nothing padded.

As language models are pretrained (GPT-3, Brown et al. 2020, arXiv:2005.14165, appendix B: documents
packed into one sequence, an end-of-text token between); TRL calls it the strategy "wrapped".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.data.signals.answers import Answers
from nbpeft.data.splitting.parts import Part, Parts
from nbpeft.data.tokens.blocks import BlockEncoder
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.notes import none_held_out
from nbpeft.data.tokens.rendering import Rendering
from nbpeft.errors import quoted
from nbpeft.rendering import count
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Texts(Answers):
    """Raw text, every token of it trained."""

    formats: tuple[str, ...] = ("text",)
    loss_on: LossOn = "all"

    def encoders(
        self,
        parts: Parts,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        max_length: int,
    ) -> Callable[[Part], BlockEncoder]:
        """Encoders that cut a part's texts, joined, into blocks."""
        return lambda part: BlockEncoder(tokenizer, rendering, max_length, part.label)

    def refusal(
        self, rendering: Rendering, counts: Counts, ends: Ends, label: str, max_length: int
    ) -> str | None:
        """Where there is not one token that another comes before."""
        if counts.trained_tokens:
            return None
        return f"The texts of {quoted(label)} have no two tokens to learn from; give longer ones."

    def figures(
        self,
        rendering: Rendering,
        counts: Counts,
        ends: Ends,
        lengths: Sequence[int],
        max_length: int,
    ) -> Iterator[tuple[str, str]]:
        """Blocks in place of what is cut."""
        told = list(super().figures(rendering, counts, ends, lengths, max_length))
        blocks = math.ceil(sum(lengths) / max_length)
        yield from told[:-1]
        yield f"blocks of {count(max_length)} tokens", f"{count(blocks)} (--max-length)"

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
        """How texts are joined and cut."""
        end = tokenizer.eos_token
        between = f"the end token {end} after each" if end else "nothing between (no end token)"
        joined = (
            f"raw text, {between}; all of it is trained, in blocks of {count(max_length)} tokens "
            "(--max-length) that begin and end anywhere in a text"
        )
        return [joined, *none_held_out(train, held_out, "held-out loss")]
