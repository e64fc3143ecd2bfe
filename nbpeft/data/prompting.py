"""A way of asking: what is put around each prompt, in place of training or to learn from it.

Examples in the context (Brown et al. 2020, arXiv:2005.14165), a system prompt, or the request to
reason first (Kojima et al. 2022, arXiv:2205.11916). Chats get messages; what is read as plain text
gets the same as paragraphs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nbpeft.data.prompts import Prompt
from nbpeft.data.tokens.rendering import Rendering, template_errors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from nbpeft.data.examples import Shot

THINK = "Think step by step, then give the answer after 'Answer:'."
ANSWER = re.compile(r"\banswer:[*_\s]*", re.IGNORECASE)
"""What the answer stands after; models like to set it in bold."""
BLANK_LINE = "\n\n"
FOLDED = (
    "this model's chat template has no place for a system message: the text opens the first "
    "message of the user instead, a blank line after it"
)


@dataclass(frozen=True, eq=False)
class Way:
    """What is put around each prompt; nothing, unless it is said what."""

    label: str = ""
    """What the column is called after the base: '3 shots'."""
    system: str | None = None
    shots: tuple[Shot, ...] = ()
    thinks: bool = False
    folds: bool = False
    """Whether the system prompt goes into the user's first message."""
    notes: tuple[str, ...] = ()

    def fitting(self, rendering: Rendering, tokenizer: PreTrainedTokenizerBase) -> Way:
        """The same for a model whose prompts are written like this."""
        if self.system is None or _is_text(rendering) or hears_system(rendering, tokenizer):
            return self
        return replace(self, folds=True, notes=(*self.notes, FOLDED))

    def put(self, prompt: Prompt, rendering: Rendering) -> Prompt:
        """A prompt with what is put around it: a text, or messages where chats are read."""
        if not self.label:
            return prompt
        if _is_text(rendering):
            return self._as_text(_text_of(prompt)) if _is_one(prompt) else prompt
        return self._as_chat(_messages_of(prompt))

    def shorter(self) -> str:
        """What makes it shorter, to be typed."""
        if self.shots:
            return f"give fewer --shots than {len(self.shots)}, or a lower --max-new-tokens"
        if self.system is not None:
            return "give a shorter --system, or a lower --max-new-tokens"
        return "leave --think out, or give a lower --max-new-tokens"

    def _as_chat(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        own = [message for message in messages if message["role"] == "system"]
        rest = [message for message in messages if message["role"] != "system"]
        if self.thinks:
            rest = _with_request(rest)
        turns = [turn for shot in self.shots for turn in _turns(shot)] + rest
        if self.system is None:
            return own + turns
        # A chat with a system message of its own keeps it, after the one that is tried.
        texts = [self.system, *(str(message["content"]) for message in own)]
        if self.folds:
            return _opened(turns, BLANK_LINE.join(texts))
        return [{"role": "system", "content": BLANK_LINE.join(texts)}, *turns]

    def _as_text(self, prompt: str) -> str:
        shown = [_joined(_text_of(shot.prompt), shot.answer) for shot in self.shots]
        asked = [prompt, f"{THINK}\n"] if self.thinks else [prompt]
        return BLANK_LINE.join([*([self.system] if self.system else []), *shown, *asked])


PLAIN = Way()
"""Prompts as they are."""


def hears_system(rendering: Rendering, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template writes a system message: Gemma's refuses it, some leave it out."""
    probe = "Speak like a pirate."
    messages = [{"role": "system", "content": probe}, {"role": "user", "content": "Hi"}]
    try:
        return probe in rendering.chats(tokenizer, [messages], opening=True)[0]
    except template_errors():
        return False


def answer_in(text: str) -> tuple[str, str]:
    """(the reasoning, the answer): what stands after the last 'Answer:', or all of it."""
    places = list(ANSWER.finditer(text))
    if not places:
        return "", text
    return text[: places[-1].end()], text[places[-1].end() :].strip()


def questions_in(prompt: Prompt) -> list[str]:
    """What users ask in a prompt, a text each, the last one last."""
    messages = _messages_of(prompt)
    return [str(m["content"]).strip() for m in messages if m["role"] == "user"]


def _is_text(rendering: Rendering) -> bool:
    return rendering.kind in ("join", "text")


def _is_one(prompt: Prompt) -> bool:
    """Whether it can be put to a model that reads plain text."""
    return isinstance(prompt, str) or [message["role"] for message in prompt] == ["user"]


def _messages_of(prompt: Prompt) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _text_of(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return BLANK_LINE.join(str(message["content"]) for message in prompt)


def _turns(shot: Shot) -> list[dict[str, Any]]:
    """An example as turns of the chat; its own system message isn't this chat's."""
    asked = [message for message in _messages_of(shot.prompt) if message["role"] != "system"]
    return [*asked, {"role": "assistant", "content": shot.answer}]


def _with_request(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last thing that a user says ends with the request to think."""
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=None)
    if last is None:
        return [*messages, {"role": "user", "content": THINK}]
    content = f"{messages[last]['content']}{BLANK_LINE}{THINK}"
    return [*messages[:last], {**messages[last], "content": content}, *messages[last + 1 :]]


def _opened(messages: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The first message begins with a text."""
    content = f"{text}{BLANK_LINE}{messages[0]['content']}"
    return [{**messages[0], "content": content}, *messages[1:]]


def _joined(prompt: str, answer: str) -> str:
    """Prompt and answer as one text, a space between where none is."""
    apart = prompt[-1:].isspace() or answer[:1].isspace()
    return f"{prompt}{'' if apart else ' '}{answer}"
