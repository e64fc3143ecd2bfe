"""When a run refuses to start: nothing would be learned, or never to stop."""

from __future__ import annotations

from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.rendering import Rendering
from nbpeft.errors import listed, quoted
from nbpeft.request import LossOn


def refused(
    rendering: Rendering,
    counts: Counts,
    ends: Ends,
    label: str,
    *,
    max_length: int,
    loss_on: LossOn,
) -> str | None:
    """Why a run on these rows refuses to start, in one line; None where it may.

    Raw text may be trained without an end token where the user says so by --loss-on all: pieces of
    a longer text have no end.
    """
    if not counts.rows:
        first = f"no row of {quoted(label)} has a token to train, beginning with row "
        first += f"{counts.dropped[0]}"
        if counts.cut:
            return (
                f"Within {max_length} tokens {first}: the prompts alone are longer than that; "
                "raise --max-length or shorten the prompts."
            )
        return f"With this tokenizer {first}; is it the model's own tokenizer?"
    text = rendering.kind == "text"
    if counts.ended or (text and loss_on == "all"):
        return None
    pieces = "type --loss-on all for pieces of text that have no end"
    if not ends.tokens:
        return (
            "The tokenizer has no end token, so the model would never be taught to stop; set the "
            "model's own, such as tokenizer.eos_token = '</s>', and run again"
            + (f"; or {pieces}." if text else ".")
        )
    what = f", shorten the rows, or {pieces}" if text else " or shorten the rows"
    return (
        f"In no row of {quoted(label)} the end token {quoted(ends.shown)} is trained, so the model "
        f"would never be taught to stop: every {'row' if text else 'answer'} is cut at "
        f"{max_length} tokens; raise --max-length{what}."
    )


def no_room(counts: Counts, label: str, max_length: int) -> str:
    """That the prompts of some rows leave no room for an answer, in one line."""
    first, *more = sorted(counts.dropped)
    too = f" (and so for rows {listed(map(str, more), limit=5)})" if more else ""
    return (
        f"Row {first} of {quoted(label)}: its prompt leaves no room for an answer within "
        f"{max_length} tokens{too}; raise --max-length, shorten the prompt or drop the row."
    )
