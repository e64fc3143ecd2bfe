"""Answers that somebody judged: one over another, or each with its thumb."""

from __future__ import annotations

from dataclasses import dataclass

from nbpeft.data.reading.feedback import PREFERENCES, RATINGS
from nbpeft.data.signals.answers import Answers
from nbpeft.data.splitting.converting import as_preferences, as_ratings
from nbpeft.data.splitting.parts import Part
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.gate import no_room
from nbpeft.data.tokens.rendering import Rendering
from nbpeft.errors import quoted


@dataclass(frozen=True, kw_only=True)
class Preferences(Answers):
    """A better and a worse answer to a prompt."""

    formats: tuple[str, ...] = PREFERENCES

    @property
    def measured(self) -> str:
        """Of which of a row's texts its length is."""
        return " (the longer of chosen and rejected)"

    def asked(self, rendering: Rendering) -> str:
        """What is trained."""
        return "both answers"

    def converted(self, part: Part) -> Part:
        """Pairs, also where thumbs or marks are given."""
        return as_preferences(part)

    def refusal(
        self, rendering: Rendering, counts: Counts, ends: Ends, label: str, max_length: int
    ) -> str | None:
        """Where a prompt leaves no room, or as for all answers."""
        cramped = self.no_room(counts, label, max_length)
        return cramped or super().refusal(rendering, counts, ends, label, max_length)

    def no_room(self, counts: Counts, label: str, max_length: int) -> str | None:
        """No row is left out in silence: each is a judgement that somebody made."""
        return no_room(counts, label, max_length) if counts.dropped else None


@dataclass(frozen=True, kw_only=True)
class Ratings(Preferences):
    """An answer to a prompt, with a thumb up or down."""

    formats: tuple[str, ...] = RATINGS

    @property
    def measured(self) -> str:
        """A row is one text."""
        return ""

    def asked(self, rendering: Rendering) -> str:
        """What is trained."""
        return "the answers"

    def converted(self, part: Part) -> Part:
        """Thumbs, also where pairs or marks are given."""
        return as_ratings(part)

    def refusal(
        self, rendering: Rendering, counts: Counts, ends: Ends, label: str, max_length: int
    ) -> str | None:
        """Thumbs of one kind say nothing of what is better."""
        if counts.rows and counts.good in (0, counts.rows):
            which = "up" if counts.good else "down"
            return (
                f"All {counts.rows:,} labels of {quoted(label)} to train on are thumbs {which}: "
                "ratings teach by the difference, so both are needed; add rows of the other kind."
            )
        return super().refusal(rendering, counts, ends, label, max_length)
