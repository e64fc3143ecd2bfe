"""What every signal says of its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.data.splitting.parts import Part, Parts, first_example
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.encode import Encodes
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.rendering import Rendering, rendering_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Signal:
    """From what rows an objective learns, and how they come to be tokens."""

    formats: tuple[str, ...]
    """Names in `formats.FORMATS` that its rows may have."""

    def converted(self, part: Part) -> Part:
        """The part with examples of the kind that is learned from.

        Raises:
            DataError: none can be made of its rows.
        """
        return part

    def check(self, parts: Parts) -> None:
        """Refuse rows that can't be learned from together. Raises DataError."""

    def rendering(self, parts: Parts, tokenizer: PreTrainedTokenizerBase) -> Rendering:
        """How all of the rows are written."""
        return rendering_of(first_example([*parts.train, *parts.held_out]), tokenizer)

    def encoders(
        self,
        parts: Parts,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        max_length: int,
    ) -> Callable[[Part], Encodes]:
        """What makes an encoder for each part."""
        raise NotImplementedError

    def refusal(
        self, rendering: Rendering, counts: Counts, ends: Ends, label: str, max_length: int
    ) -> str | None:
        """Why a run on rows that were counted so refuses to start; None where it may."""
        raise NotImplementedError

    def no_room(self, counts: Counts, label: str, max_length: int) -> str | None:
        """Why rows can't be without those that had no room in `max_length`; None where they may."""
        return None

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
        """How rows were written, cut and dropped, in plain lines.

        Args:
            held_out: None where nothing is split.
        """
        raise NotImplementedError

    def label_names(self, parts: Parts) -> tuple[str, ...]:
        """The classes, in the order of their numbers; none where there are no classes."""
        return ()
