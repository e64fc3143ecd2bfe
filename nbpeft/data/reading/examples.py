"""What a row is to a run: a text, a pair, a chat, or one of the signals made of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]

Said = str | list[Message]
"""A prompt or an answer: a string, or messages. In one example all are of one kind."""


@dataclass(frozen=True)
class Text:
    """Raw text; every token is trained."""

    text: str


@dataclass(frozen=True)
class Pair:
    """A prompt and the text that answers it; the answer is trained.

    The prompt is empty where an answer to nothing is judged: a chat that the assistant opens.
    """

    prompt: str
    completion: str


@dataclass(frozen=True)
class Chat:
    """Messages; the assistant's turns from index `answers_from` on are trained."""

    messages: list[Message]
    answers_from: int = 1


@dataclass(frozen=True)
class Preference:
    """Two answers to a prompt, of which one is better."""

    prompt: Said | None
    """None where the answers stand for themselves."""
    chosen: Said
    rejected: Said


@dataclass(frozen=True)
class Rating:
    """An answer to a prompt, and whether it is good: thumb up or down."""

    prompt: Said | None
    completion: Said
    good: bool


@dataclass(frozen=True)
class Scored:
    """An answer to a prompt, and its mark: the higher, the better."""

    prompt: Said | None
    completion: Said
    score: float
    group: str | None = None
    """Marks are compared within a group; None where a prompt's answers are one."""


@dataclass(frozen=True)
class Labelled:
    """A text and the class that it is of."""

    text: str
    label: str | int | bool


@dataclass(frozen=True)
class Asked:
    """A prompt that the model is to answer, and what else its row has to judge the answer by."""

    prompt: Said
    beside: Mapping[str, Any] = field(default_factory=dict)
    """The row's other columns."""


Written = Text | Pair | Chat
"""What is written for a model as one text."""
Example = Written | Preference | Rating | Scored | Labelled | Asked


def answers_of(example: Example) -> tuple[Said, ...]:
    """The answers that an example judges, the better one first."""
    if isinstance(example, Preference):
        return example.chosen, example.rejected
    if isinstance(example, Rating | Scored):
        return (example.completion,)
    return ()


def as_chat(example: Written) -> Chat:
    """A pair as one user and one assistant turn; a chat up to its last answer."""
    if isinstance(example, Pair):
        asked = as_messages(example.prompt or None, "user")
        said = as_messages(example.completion, "assistant")
        return Chat([*asked, *said], answers_from=len(asked))
    assert isinstance(example, Chat)  # texts are never rendered as chats
    last = max(i for i, message in enumerate(example.messages) if message["role"] == "assistant")
    return Chat(example.messages[: last + 1], example.answers_from)


def answered(prompt: Said | None, answer: Said) -> Pair | Chat:
    """A prompt with an answer to it, as it is written for a model."""
    if isinstance(answer, str) and not isinstance(prompt, list):
        return Pair(prompt or "", answer)
    asked, said = as_messages(prompt, "user"), as_messages(answer, "assistant")
    return Chat([*asked, *said], answers_from=len(asked))


def as_messages(said: Said | None, role: str) -> list[Message]:
    """A prompt or an answer as messages; a string is one, of this role."""
    if said is None:
        return []
    return [{"role": role, "content": said}] if isinstance(said, str) else said


def asked_of(example: Example) -> Said | None:
    """The prompt of a signal's example; None where it has none."""
    if isinstance(example, Preference | Rating | Scored | Asked):
        return example.prompt
    return None


def texts_of(example: Example) -> tuple[Written, ...]:
    """What is written of an example: itself, or a prompt with each answer to it."""
    if isinstance(example, Preference | Rating | Scored):
        return tuple(answered(example.prompt, answer) for answer in answers_of(example))
    if isinstance(example, Asked):
        return (answered(example.prompt, ""),)
    if isinstance(example, Labelled):
        return (Text(example.text),)
    return (example,)
