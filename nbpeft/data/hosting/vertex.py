"""Vertex AI's tuning of Gemini models: chats for the supervised method, preferences.

As the pages named below had it when they were read, 2026-11-28. Text alone: calls of tools have a
form of their own there, which isn't written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nbpeft.data.hosting.service import Kind, Line, Service, is_system, turns_of
from nbpeft.data.hosting.shape import ListOf, Object, OneOf, Text
from nbpeft.data.reading.examples import Chat, Message, Preference, Said

PAGES = "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/models/"
ROLES = {"user": "user", "assistant": "model"}

PARTS = ListOf(Object({"text": Text()}))
SYSTEM = Object({"parts": PARTS}, {"role": OneOf(("system",))})
CONTENTS = ListOf(Object({"role": OneOf(("user", "model")), "parts": PARTS}))
COMPLETION = Object(
    {
        "score": OneOf((0, 1)),
        "completion": Object({"role": OneOf(("model",)), "parts": PARTS}),
    }
)


def chat_line(chat: Chat, tools: Any) -> Line:
    """A chat; the system messages that open it are its systemInstruction."""
    line = _line(chat.messages, "systemInstruction", {"role": "system"})
    return {**line, **({"tools": tools} if tools else {})}


def preference_line(preference: Preference, tools: Any) -> Line:
    """A prompt, and a better and a worse answer to it, one turn each."""
    both = ((1, preference.chosen), (0, preference.rejected))
    return {
        **_line(preference.prompt, "system_instruction", {}),
        "completions": [
            {"score": score, "completion": _content(turn)}
            for score, answer in both
            for turn in turns_of(answer, "assistant")
        ],
    }


def _line(said: Said | None, key: str, opening: Mapping[str, str]) -> Line:
    turns = turns_of(said, "user")
    first = next((i for i, turn in enumerate(turns) if not is_system(turn)), len(turns))
    parts = [part for turn in turns[:first] for part in _parts(turn)]
    line = {key: {**opening, "parts": parts}} if parts else {}
    return {**line, "contents": [_content(turn) for turn in turns[first:]]}


def _content(turn: Message) -> Line:
    """A turn; what isn't known there is kept, for the check to name."""
    rest = {k: v for k, v in turn.items() if k not in ("role", "content", "weight")}
    role = turn.get("role", "")
    return {"role": ROLES.get(role, role), "parts": _parts(turn), **rest}


def _parts(turn: Message) -> list[Line]:
    return [{"text": turn["content"]}] if "content" in turn else []


def _chat_rules(line: Line) -> Iterator[str]:
    yield from _turns(line["contents"], "model")


def _preference_rules(line: Line) -> Iterator[str]:
    yield from _turns(line["contents"], "user")
    if sorted(c["score"] for c in line["completions"]) != [0, 1]:
        yield "completions need the scores 1 and 0, one each"


def _turns(contents: Sequence[Line], last: str) -> Iterator[str]:
    """User and model take turns; the user begins."""
    for place, content in enumerate(contents):
        wanted = ("user", "model")[place % 2]
        if content["role"] != wanted:
            yield f"contents[{place}] is of the role {content['role']}, where {wanted} has the turn"
            return
    if contents[-1]["role"] != last:
        yield f"it ends with a message of the role {contents[-1]['role']}, not {last}"


VERTEX = Service(
    name="vertex",
    title="Vertex AI",
    checked="2026-11-28",
    chats=Kind(
        "chats",
        Object({"contents": CONTENTS}, {"systemInstruction": SYSTEM}),
        _chat_rules,
        f"{PAGES}gemini-supervised-tuning-prepare",
    ),
    preferences=Kind(
        "preferences",
        Object(
            {"contents": CONTENTS, "completions": ListOf(COMPLETION, fewest=2, most=2)},
            {"system_instruction": SYSTEM},
        ),
        _preference_rules,
        f"{PAGES}gemini-preference-tuning-prepare",
    ),
    chat_line=chat_line,
    preference_line=preference_line,
    fewest=1,
    most_tokens=131_072,
    most_bytes=10**9,
    weighs=False,
)
