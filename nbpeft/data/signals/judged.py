"""Answers that somebody judged: one over another, or each with its thumb."""

from __future__ import annotations

from collections.abc import Sequence
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
    """A better and a worse answer to a prompt.

    Rows get input_ids and labels of the prompt with the chosen one, rejected_input_ids and
    rejected_labels with the other, and `shared`, how many tokens both begin with that have no
    label. Thumbs and marks are made into pairs. Answers beyond `max_length` keep their start.
    """

    formats: tuple[str, ...] = PREFERENCES

    @property
    def text(self) -> str:
        """A row has two."""
        return "text"

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

    def no_room(self, counts: Counts, parts: Sequence[Part], max_length: int) -> str | None:
        """No row is left out in silence: each is a judgement that somebody made."""
        if not counts.dropped and not counts.alike:
            return None
        what = (
            f"the prompt fills the {max_length} tokens of a row, with no room for an answer"
            if counts.dropped
            else f"within {max_length} tokens the two answers are the same"
        )
        return no_room(counts, parts[0].label, parts[0].reading.columns.get("prompt"), what)


@dataclass(frozen=True, kw_only=True)
class Ratings(Preferences):
    """An answer to a prompt, with a thumb up or down.

    Rows get input_ids, labels of the answer, and `good`. Pairs and marks are made into thumbs.
    """

    formats: tuple[str, ...] = RATINGS

    @property
    def text(self) -> str:
        """A row has one."""
        return "row"

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
