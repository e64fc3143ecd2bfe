"""The shapes that rows come in, one entry of a table each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbpeft.data.reading.alpaca import ALPACA
from nbpeft.data.reading.examples import Chat, Example, Pair, Text
from nbpeft.data.reading.feedback import FEEDBACK
from nbpeft.data.reading.shapes import CHAT, Cell, Format


def _messages(row: Mapping[str, Any]) -> Example:
    return Chat(row["messages"])


def _prompt_completion(row: Mapping[str, Any]) -> Example:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, str):
        return Pair(prompt, completion)
    return Chat([*prompt, *completion], answers_from=len(prompt))


def _text(row: Mapping[str, Any]) -> Example:
    return Text(row["text"])


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format(
            "messages",
            {
                "messages": Cell(
                    CHAT,
                    chat=True,
                    answer=True,
                    also=("conversations", "conversation", "chat", "dialog", "dialogue"),
                    by_look=True,
                )
            },
            _messages,
        ),
        ALPACA,
        Format(
            "prompt_completion",
            {
                "prompt": Cell(
                    "a string or a chat",
                    string=True,
                    chat=True,
                    also=(
                        "question",
                        "query",
                        "input",
                        "inputs",
                        "problem",
                        "request",
                        "user",
                        "human",
                    ),
                ),
                "completion": Cell(
                    "a string or a chat",
                    string=True,
                    chat=True,
                    answer=True,
                    alone=True,
                    also=(
                        "answer",
                        "response",
                        "output",
                        "target",
                        "targets",
                        "solution",
                        "reply",
                        "assistant",
                    ),
                ),
            },
            _prompt_completion,
        ),
        Format(
            "text",
            {
                "text": Cell(
                    "a string",
                    string=True,
                    also=("content", "body", "document", "article", "sentence", "story"),
                    by_look=True,
                )
            },
            _text,
        ),
        *FEEDBACK,
    )
}
"""Every format. A new one is an entry here."""

SFT = ("messages", "alpaca", "prompt_completion", "text")
"""What supervised fine-tuning can train on."""
