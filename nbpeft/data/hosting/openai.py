"""OpenAI's fine-tuning: chats for the supervised method, preferences for DPO.

Schemas `FineTuneChatRequestInput` and `FineTunePreferenceRequestInput` of OpenAI's OpenAPI
document 2.3.0, and the guides named below, read 2026-11-28. Azure OpenAI, Together and Fireworks
document the same lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nbpeft.data.hosting.service import Kind, Line, Service, is_system, turns_of
from nbpeft.data.hosting.shape import Anything, ByRole, ListOf, Object, OneOf, Shape, Text
from nbpeft.data.reading.examples import Chat, Message, Preference, Said

GUIDES = "https://developers.openai.com/api/docs/guides/"

CALL = Object(
    {
        "id": Text(),
        "type": OneOf(("function",)),
        "function": Object({"name": Text(), "arguments": Text()}),
    }
)
ROLES = {
    "system": Object({"role": OneOf(("system",)), "content": Text()}, {"name": Text()}),
    "user": Object({"role": OneOf(("user",)), "content": Text()}, {"name": Text()}),
    "assistant": Object(
        {"role": OneOf(("assistant",))},
        {
            "content": Text(),
            "name": Text(),
            "refusal": Text(),
            "tool_calls": ListOf(CALL),
            "weight": OneOf((0, 1)),
        },
    ),
    "tool": Object({"role": OneOf(("tool",)), "content": Text(), "tool_call_id": Text()}),
}
TOOLS = ListOf(Object({"type": OneOf(("function",)), "function": Anything()}), fewest=0)
ASKED: Mapping[str, Shape] = {"messages": ListOf(ByRole(ROLES))}
TOOLED: Mapping[str, Shape] = {"tools": TOOLS, "parallel_tool_calls": OneOf((True, False))}
ANSWER = ListOf(
    Object({"role": OneOf(("assistant",)), "content": Text()}, {"name": Text()}), most=1
)


def chat_line(chat: Chat, tools: Any) -> Line:
    """A chat; answers that are not to be trained have the weight 0."""
    messages = _messages(chat.messages[: chat.answers_from], "user")
    for message in messages:
        if message.get("role") == "assistant":
            message.setdefault("weight", 0)
    messages += _messages(chat.messages[chat.answers_from :], "assistant")
    return {"messages": messages, **({"tools": tools} if tools else {})}


def preference_line(preference: Preference, tools: Any) -> Line:
    """A prompt, and a better and a worse answer to it."""
    return {
        "input": {
            "messages": _messages(preference.prompt, "user"),
            "tools": tools or [],
            "parallel_tool_calls": True,
        },
        "preferred_output": _messages(preference.chosen, "assistant"),
        "non_preferred_output": _messages(preference.rejected, "assistant"),
    }


def _messages(said: Said | None, role: str) -> list[Message]:
    return [_message(turn) for turn in turns_of(said, role)]


def _message(turn: Message) -> Message:
    role = {"role": "system"} if is_system(turn) else {}
    calls = turn.get("tool_calls")
    called = {"tool_calls": [_call(call) for call in calls]} if isinstance(calls, list) else {}
    return {**turn, **role, **called}


def _call(call: Any) -> Any:
    """A call of a tool: chats often hold its arguments as an object, OpenAI as JSON in a string."""
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
        return call  # for the check to name
    function = dict(call["function"])
    if isinstance(function.get("arguments"), dict):
        function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    return {"type": "function", **call, "function": function}


def _chat_rules(line: Line) -> Iterator[str]:
    messages = line["messages"]
    yield from _message_rules(messages, "messages")
    if messages[-1]["role"] != "assistant":
        yield f"it ends with a message of the role {messages[-1]['role']}, not with an answer"
    elif all(m.get("weight") == 0 for m in messages if m["role"] == "assistant"):
        yield "every answer has the weight 0, so that none is trained"


def _preference_rules(line: Line) -> Iterator[str]:
    messages = line["input"]["messages"]
    yield from _message_rules(messages, "input.messages")
    if messages[-1]["role"] not in ("user", "tool"):
        yield f"the prompt ends with a message of the role {messages[-1]['role']}, not user"


def _message_rules(messages: Sequence[Message], path: str) -> Iterator[str]:
    """An answer says or calls something; results of tools are of calls that were made."""
    called: set[str] = set()
    for place, message in enumerate(messages):
        if message["role"] == "assistant" and not {"content", "tool_calls", "refusal"} & {*message}:
            yield f"{path}[{place}] has neither content nor tool_calls"
        called |= {call["id"] for call in message.get("tool_calls", ())}
        if message["role"] == "tool" and message["tool_call_id"] not in called:
            yield f"{path}[{place}].tool_call_id is of no call before it"


OPENAI = Service(
    name="openai",
    title="OpenAI",
    checked="2026-11-28",
    chats=Kind("chats", Object(ASKED, TOOLED), _chat_rules, f"{GUIDES}supervised-fine-tuning"),
    preferences=Kind(
        "preferences",
        Object(
            {
                "input": Object(ASKED, TOOLED),
                "preferred_output": ANSWER,
                "non_preferred_output": ANSWER,
            }
        ),
        _preference_rules,
        f"{GUIDES}direct-preference-optimization",
    ),
    chat_line=chat_line,
    preference_line=preference_line,
    fewest=10,
    most_tokens=65_536,
    most_bytes=512 * 10**6,
    weighs=True,
    notes=(
        "OpenAI takes new fine-tuning jobs from its active customers alone, and from nobody after "
        "2027-01-06 (developers.openai.com/api/docs/deprecations); Azure OpenAI, Together and "
        "Fireworks take files of this form",
    ),
)
