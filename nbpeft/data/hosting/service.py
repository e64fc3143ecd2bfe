"""What a hosted service takes: its lines, the schema that they are checked against, its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nbpeft.data.hosting.shape import Object, misfits
from nbpeft.data.reading.examples import Chat, Message, Preference, Said, as_messages

Line = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One sort of line."""

    name: str
    """As 'chats'."""
    shape: Object
    rules: Callable[[Line], Iterator[str]]
    """What no shape says, of a line that has its shape: what is wrong, in words."""
    page: str
    """Where it is documented."""

    def problems(self, line: Any) -> list[str]:
        """What is wrong with a line, as the service would read it; empty for a good one."""
        return list(misfits(self.shape, line)) or list(self.rules(line))


@dataclass(frozen=True)
class Service:
    """A service that tunes its own models on a file."""

    name: str
    """As it is typed."""
    title: str
    checked: str
    """When its documentation was read, ISO 8601: schemas change."""
    chats: Kind
    preferences: Kind
    chat_line: Callable[[Chat, Any], Line]
    """A chat, and the row's tools, as a line."""
    preference_line: Callable[[Preference, Any], Line]
    fewest: int
    """Rows."""
    most_tokens: int
    """Of a row."""
    most_bytes: int
    """Of a file."""
    weighs: bool
    """Whether a chat can say which answers are not trained."""
    notes: tuple[str, ...] = ()
    """What the user should know of the service now."""


def without_nothing(value: Any) -> Any:
    """Objects without the keys that hold nothing: tables give each row the keys of all."""
    if isinstance(value, dict):
        return {key: without_nothing(item) for key, item in value.items() if item is not None}
    return [without_nothing(item) for item in value] if isinstance(value, list) else value


def turns_of(said: Said | None, role: str) -> list[Message]:
    """A prompt or an answer as messages, without system messages that are empty.

    These are common and harmless in rows, and services refuse them.
    """
    turns = (without_nothing(message) for message in as_messages(said, role))
    return [turn for turn in turns if not _is_empty(turn)]


def _is_empty(turn: Message) -> bool:
    said = turn.get("content", "")
    return is_system(turn) and isinstance(said, str) and not said.strip()


def is_system(turn: Message) -> bool:
    """Whether a message sets the scene: what a developer says does, too."""
    return turn.get("role") in ("system", "developer")
