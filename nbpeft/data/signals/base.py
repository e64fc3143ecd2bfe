"""What every signal says of its rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.data.splitting.parts import Part, Parts, first_example
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.encode import Encodes
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.rendering import Rendering, rendering_of
from nbpeft.rendering import count

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Signal:
    """From what rows an objective learns, and how they come to be tokens."""

    formats: tuple[str, ...] = ()
    """Names in `formats.FORMATS` that its rows may have."""

    @property
    def measured(self) -> str:
        """Of which of a row's texts its length is, where it has several."""
        return ""

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

    @property
    def unit(self) -> str:
        """What the length of a row counts."""
        return "tokens a row"

    def figures(
        self,
        rendering: Rendering,
        counts: Counts,
        ends: Ends,
        lengths: Sequence[int],
        max_length: int,
    ) -> Iterator[tuple[str, str]]:
        """What was counted over some rows, of `lengths` tokens before cutting."""
        of = f"of {count(len(lengths))} rows"
        middle = count(round(statistics.median(lengths)))
        over = sum(length > max_length for length in lengths)
        spread = f"{count(min(lengths))} to {count(max(lengths))}, median {middle}"
        yield f"tokens a row{self.measured}", spread
        yield from self.trained(rendering, counts, ends, len(lengths))
        yield f"over {count(max_length)} tokens", f"{count(over)} {of} (--max-length)"

    def trained(
        self, rendering: Rendering, counts: Counts, ends: Ends, rows: int
    ) -> Iterator[tuple[str, str]]:
        """Figures on what is trained, over so many rows; none where tokens have no labels."""
        yield from ()

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
