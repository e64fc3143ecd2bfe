"""Answers as a chat template's own {% generation %} marks tell them.

Some templates carry these marks, and TRL knows variants with them for many that don't. A variant
only tells where the answers stand: it is believed for a row where it writes the same text as the
tokenizer's own template, which is what the model is asked with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.data.tokens.rendering import Rendering, shared, template_errors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""From the first to past the last."""


@dataclass(frozen=True)
class Marks:
    """A template with {% generation %} marks."""

    template: str
    own: bool
    """The tokenizer's own template, not TRL's variant of it."""
    variables: Mapping[str, Any]
    """What the tokenizer hands a template: its special tokens."""
    opening: str
    """What the template opens an answer with when the model is asked; it is never trained."""

    def spans(self, messages: Sequence[Mapping[str, Any]], text: str) -> list[Span] | None:
        """Spans of characters of `text` for every message of the assistant, in order.

        None where they can't be told so: the template refuses the chat or writes another text, or
        its marks aren't one a message.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        chat = [{k: v for k, v in message.items() if v is not None} for message in messages]
        try:
            texts, marked = render_jinja_template(
                conversations=[chat],
                chat_template=self.template,
                return_assistant_tokens_mask=True,
                add_generation_prompt=False,
                **self.variables,
            )
        except template_errors():
            return None
        spans = _joined(marked[0])
        answers = sum(message["role"] == "assistant" for message in messages)
        if texts[0] != text or len(spans) != answers:
            return None
        return [(self._after_opening(start, stop, text), stop) for start, stop in spans]

    def _after_opening(self, start: int, stop: int, text: str) -> int:
        """Where the answer begins, if the marks take in (part of) its opening."""
        earliest = max(0, start - len(self.opening))
        place = text.find(self.opening, earliest, start + len(self.opening))
        after = place + len(self.opening)
        return after if place >= 0 and start < after <= stop else start


def marks_of(
    tokenizer: PreTrainedTokenizerBase, rendering: Rendering, messages: list[dict[str, Any]]
) -> Marks | None:
    """The marks that a tokenizer's chat template has, or that TRL has for it.

    Args:
        messages: any chat that the template takes, ending with an answer.
    """
    if rendering.kind != "chat":
        return None
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    own = tokenizer.get_chat_template()
    marked: str | None = own
    if not has_generation_markers(own):
        try:
            marked = get_training_chat_template(tokenizer)
        except template_errors():  # a ValueError where TRL doesn't know the template
            marked = None
    if marked is None:
        return None
    try:
        [prompt] = rendering.chats(tokenizer, [messages[:-1]], opening=True)
        [asked] = rendering.chats(tokenizer, [messages[:-1]])
    except template_errors():
        return None
    opening = prompt[shared(prompt, asked) :]
    return Marks(marked, marked == own, tokenizer.special_tokens_map, opening)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Spans that touch as one: some templates mark an end token apart from its answer."""
    joined: list[Span] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
