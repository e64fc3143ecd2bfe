"""The parts of a card as HTML: every text of a prompt or a model escaped, colours from the page."""

from __future__ import annotations

from nbpeft.rating.deck import Card
from nbpeft.rating.rating import Rating
from nbpeft.rating.summary import prompt_text
from nbpeft.rendering import escape
from nbpeft.rendering.table import NO_MATH

LONGEST = 20_000
"""Characters of an answer that are shown: whoever rates must see the whole."""


def head_html(rating: Rating) -> str:
    """How far it is; nothing of who answers."""
    place = f"<span style='opacity: 0.7'>prompt {escape(rating.place)}</span>"
    return f"<b>{_question(rating)}</b> {place}"


def _question(rating: Rating) -> str:
    if rating.request.mark:
        return "How good is the answer, 1 to 5?"
    if rating.most_answers == 2:
        return "Which answer is better?"
    return "Which of the others is best?" if rating.deck.placed else "Which answer is best?"


def prompt_html(card: Card | None) -> str:
    """What was asked."""
    if card is None:
        return "<i style='opacity: 0.7'>The next answers are being written …</i>"
    return _text(prompt_text(card.prompt), "border-left: 3px solid #808080; padding-left: 0.6em")


def answer_html(text: str) -> str:
    """What one answered."""
    return _text(text, "padding: 0.2em 0")


def note_html(text: str) -> str:
    """What went wrong."""
    return _text(text, "font-weight: bold")


def _text(text: str, style: str) -> str:
    return (
        f'<div class="{NO_MATH}" dir="auto" style="white-space: pre-wrap; overflow-wrap: anywhere; '
        f'line-height: 1.4; max-height: 24em; overflow-y: auto; {style}">'
        f"{escape(text, LONGEST)}</div>"
    )
