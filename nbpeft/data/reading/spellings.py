"""The ways in which people write a chat down, one entry of a table each.

Everything else knows a chat as a list of {role, content}; a spelling brings a cell to that.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nbpeft.errors import listed, quoted

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
}
"""ShareGPT's names of roles, as chat templates know them."""

SPEAKERS = {"Human": "user", "Assistant": "assistant"}
"""Who speaks in a transcript such as Anthropic's HH (Bai et al. 2022, arXiv:2204.05862)."""

TURN = r"(?:^|\n\n)(Human|Assistant):(.*?)(?=\n\n(?:Human|Assistant):|\Z)"


@dataclass(frozen=True)
class Spelling:
    """One way to write a chat down."""

    name: str
    """As in 'messages from conversations, ShareGPT's from and value'."""
    looks: Callable[[Any], bool]
    """Whether a cell is written like this."""
    read: Callable[[Any], Any]
    """A cell as a list of {role, content}; ValueError says what is wrong with it. What isn't
    written like this at all is handed through, for the checks to name."""
    python: str
    """The same as a Python expression of CELL."""
    imports: tuple[str, ...] = ()
    """Modules that the expression needs."""


def _same(value: Any) -> Any:
    return value


def _list_with(key: str) -> Callable[[Any], bool]:
    """Whether a cell is a list of messages that have `key`."""

    def looks(value: Any) -> bool:
        if not isinstance(value, list) or not value:
            return False
        return all(isinstance(item, Mapping) and item.get(key) is not None for item in value)

    return looks


def _sharegpt(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [_turn(message, place) for place, message in enumerate(value)]


def _turn(message: Any, place: int) -> Any:
    if not isinstance(message, Mapping) or message.get("from") is None:
        return message
    who = message["from"]
    if who not in ROLES:
        raise ValueError(
            f"message {place} is from {quoted(who)}, which is no role known; rename it to one of "
            f"{listed(ROLES)}"
        )
    return {"role": ROLES[who], "content": message.get("value")}


def _is_transcript(value: Any) -> bool:
    return (
        isinstance(value, str) and value.lstrip().startswith("Human:") and "\n\nAssistant:" in value
    )


def _transcript(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip():
        return value
    if not value.lstrip().startswith("Human:"):
        raise ValueError(
            f"it is no transcript: {quoted(value)} doesn't begin with 'Human:', as the first rows "
            "do"
        )
    turns = re.findall(TURN, value.strip(), re.DOTALL)
    return [{"role": SPEAKERS[who], "content": said.strip()} for who, said in turns]


def _asked(value: Any) -> Any:
    turns = _transcript(value)
    if isinstance(turns, list) and turns and turns[-1] == {"role": "assistant", "content": ""}:
        return turns[:-1]
    return turns


def _json(value: Any) -> Any:
    return _opened(value, json.loads, "JSON")


def _literal(value: Any) -> Any:
    return _opened(value, ast.literal_eval, "a Python list")


def _opened(value: Any, load: Callable[[str], Any], what: str) -> Any:
    if not isinstance(value, str) or not value.strip():
        return value
    try:
        return load(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"it is not {what}, as the first rows are: {quoted(value)} ({reason})"
        ) from error


def _within(outer: Spelling, inner: Spelling) -> Spelling:
    """Chats spelled as `inner`, in strings spelled as `outer`."""

    def looks(value: Any) -> bool:
        if not isinstance(value, str) or not value.lstrip().startswith("["):
            return False
        try:
            return inner.looks(outer.read(value))
        except ValueError:
            return False

    return Spelling(
        name=", ".join(name for name in (outer.name, inner.name) if name),
        looks=looks,
        read=lambda value: inner.read(outer.read(value)),
        python=inner.python.replace("CELL", outer.python),
        imports=outer.imports + inner.imports,
    )


PLAIN = Spelling("", _list_with("role"), _same, "CELL")
_RENAMED = {theirs: ours for theirs, ours in ROLES.items() if theirs != ours}
SHAREGPT = Spelling(
    "ShareGPT's from and value: human is user, gpt is assistant",
    _list_with("from"),
    _sharegpt,
    f'[{{"role": {json.dumps(_RENAMED)}.get(turn["from"], turn["from"]), '
    '"content": turn["value"]} for turn in CELL]',
)
TRANSCRIPT = Spelling(
    "a transcript of Human: and Assistant:",
    _is_transcript,
    _transcript,
    f'[{{"role": {json.dumps(SPEAKERS)}[who], "content": said.strip()}} '
    f'for who, said in re.findall(r"{TURN}", CELL.strip(), re.S)]',
    ("re",),
)
OPEN_TRANSCRIPT = replace(
    TRANSCRIPT,
    read=_asked,
    python=f"[turn for turn in {TRANSCRIPT.python} if turn['content']]",
)
"""Of a prompt: the Assistant: that it may end with opens the answer and says nothing."""
_JSON = Spelling("strings of JSON", _same, _json, "json.loads(CELL)", ("json",))
_LITERAL = Spelling("strings of Python lists", _same, _literal, "ast.literal_eval(CELL)", ("ast",))

SPELLINGS = (
    PLAIN,
    SHAREGPT,
    TRANSCRIPT,
    *(_within(outer, inner) for outer in (_JSON, _LITERAL) for inner in (PLAIN, SHAREGPT)),
)
"""Every spelling, the likeliest first. A new one is an entry here."""


def spelling_of(cells: Sequence[Any]) -> Spelling | None:
    """How most of these cells write a chat; None where they don't hold chats."""
    given = [cell for cell in cells if cell is not None and cell != ""]
    for spelling in SPELLINGS:
        if given and 2 * sum(spelling.looks(cell) for cell in given) > len(given):
            return spelling
    return None
