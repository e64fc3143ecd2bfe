"""A prompt told apart from the answers to it, where these repeat it.

Preference data often has no prompt of its own: chosen and rejected are whole conversations that
share their beginning. It is taken for the prompt, as TRL's `extract_prompt` does; of two strings
up to the last word that both begin with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nbpeft.data.reading.examples import Message, Said, as_messages

OPENING = "\n\nAssistant:"
"""What opens an answer in a transcript."""


def parted(prompt: Said | None, answers: Sequence[Said]) -> tuple[Said | None, list[Said]]:
    """A prompt and the answers without it, all strings or all chats.

    Args:
        prompt: as it stands in a column of its own; None or an empty string where there is none.
        answers: one, or several to the same prompt.
    """
    prompt = prompt or None
    texts = [answer for answer in answers if isinstance(answer, str)]
    if len(texts) == len(answers) and (prompt is None or isinstance(prompt, str)):
        return _parted_texts(prompt, texts)
    chats = [as_messages(answer, "assistant") for answer in answers]
    if all(chat[0]["role"] == "assistant" for chat in chats):
        return as_messages(prompt, "user") or None, list(chats)
    asked, rest = _parted_chats(as_messages(prompt, "user"), chats)
    if not isinstance(prompt, list):  # a prompt in words that the chats hold, too
        return asked or None, rest
    return [*(m for m in prompt if not _holds(asked, prompt)), *asked], rest


def _parted_texts(prompt: str | None, answers: list[str]) -> tuple[str | None, list[Said]]:
    if prompt is None:
        prompt = _beginning(answers) if len(answers) > 1 else ""
    elif not all(answer.startswith(prompt) for answer in answers):
        return prompt, list(answers)
    return prompt or None, [answer[len(prompt) :] for answer in answers]


def _beginning(texts: list[str]) -> str:
    """What all of some texts begin with, up to a space; of transcripts to an answer's opening."""
    first, last = min(texts), max(texts)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    shared = first[:same]
    opening = shared.rfind(OPENING)
    if opening >= 0:
        return shared[: opening + len(OPENING)]
    return shared[: max((i for i, c in enumerate(shared) if c.isspace()), default=0)]


def _parted_chats(
    asked: list[Message], chats: list[list[Message]]
) -> tuple[list[Message], list[Said]]:
    """Whole chats: what they share is asked, and the last message of each at least is answered."""
    if asked and all(_holds(chat, asked) for chat in chats):
        return asked, [chat[len(asked) :] for chat in chats]
    if len(chats) == 1:
        answers = [i for i, m in enumerate(chats[0]) if m["role"] == "assistant"]
        length = answers[-1] if answers else len(chats[0]) - 1
    else:
        length = min(map(len, chats)) - 1
        while not all(_holds(chat, chats[0][:length]) for chat in chats):
            length -= 1
    return chats[0][:length], [chat[length:] for chat in chats]


def _holds(chat: Sequence[Message], beginning: Sequence[Message]) -> bool:
    """Whether a chat begins with these messages."""
    if len(chat) < len(beginning):
        return False
    return all(_told(a) == _told(b) for a, b in zip(chat, beginning, strict=False))


def _told(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message without the keys that only others have a value for."""
    return {key: value for key, value in message.items() if value is not None}
