"""Prompts that the model answers itself, and is told how well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.data.reading.examples import Asked
from nbpeft.data.reading.feedback import ASKED
from nbpeft.data.signals.base import Signal
from nbpeft.data.splitting.parts import Part, Parts
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.gate import no_room
from nbpeft.data.tokens.notes import none_held_out
from nbpeft.data.tokens.questions import QuestionEncoder
from nbpeft.data.tokens.rendering import Rendering
from nbpeft.errors import DataError, quoted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TAKEN = ("input_ids", "prompt", "prompts", "completions")
"""Names under which a row's own tokens and prompt are handed on, and what a reward is called
with."""
HOW = {
    "chat": "prompts are written in the tokenizer's chat template, with what opens the answer",
    "plain": "the tokenizer has no chat template: prompts are written in nbpeft's plain one",
    "join": "the tokenizer has no chat template: prompts are put as they stand",
}


@dataclass(frozen=True, kw_only=True)
class Prompts(Signal):
    """A prompt, and whatever else its row holds to judge an answer by.

    Rows get input_ids as `Rendering.prompt_ids` has them, `prompt`, a string or messages of role
    and content (for all rows, where any has them), and their other columns as they are.
    """

    formats: tuple[str, ...] = ASKED
    max_new_tokens: int = 0
    """Tokens that an answer may have: the prompt has the rest of `max_length`."""
    measured: str = "reward"
    """What held-out rows say."""

    def check(self, parts: Parts) -> None:
        """Refuse columns of names that are taken."""
        for part in (*parts.train, *parts.held_out):
            beside = set(part.found) - set(part.reading.columns.values())
            for name in TAKEN:
                if name in beside:
                    raise DataError(
                        f"{quoted(part.label)} has a column {quoted(name)} beside its prompt, a "
                        "name under which a reward is given something else; rename the column."
                    )

    def encoders(
        self,
        parts: Parts,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        max_length: int,
    ) -> Callable[[Part], QuestionEncoder]:
        """Encoders that write prompts as the model is asked them."""
        room = max_length - self.max_new_tokens
        each = (example for part in (*parts.train, *parts.held_out) for example in part.each())
        chats = any(isinstance(e, Asked) and not isinstance(e.prompt, str) for e in each)
        return lambda part: QuestionEncoder(tokenizer, rendering, room, part.label, chats=chats)

    def refusal(
        self, rendering: Rendering, counts: Counts, ends: Ends, label: str, max_length: int
    ) -> str | None:
        """Nothing more than `no_room`."""
        return None

    def no_room(self, counts: Counts, parts: Sequence[Part], max_length: int) -> str | None:
        """A prompt that leaves no room for an answer."""
        if not counts.dropped:
            return None
        what = (
            f"the prompt is over the {max_length - self.max_new_tokens} tokens that it may have: "
            f"{max_length} in all, {self.max_new_tokens} of them for the answer"
        )
        return no_room(counts, parts[0].label, parts[0].reading.columns.get("prompt"), what)

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
        """How prompts are written."""
        return [HOW[rendering.kind], *none_held_out(train, held_out, f"held-out {self.measured}")]
