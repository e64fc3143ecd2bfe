"""The shapes that rows come in, one entry of a table each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbpeft.data.reading.spellings import PLAIN, Spelling
from nbpeft.errors import listed, quoted

Message = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """Raw text; every token is trained."""

    text: str


@dataclass(frozen=True)
class Pair:
    """A prompt and the text that answers it; the answer is trained."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Chat:
    """Messages; the assistant's turns from index `answers_from` on are trained."""

    messages: list[Message]
    answers_from: int = 1


Example = Text | Pair | Chat


def as_chat(example: Example) -> Chat:
    """A pair as one user and one assistant turn; a chat up to its last answer."""
    if isinstance(example, Pair):
        asked, answered = example.prompt, example.completion
        return Chat(
            [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        )
    assert isinstance(example, Chat)  # texts are never rendered as chats
    last = max(i for i, message in enumerate(example.messages) if message["role"] == "assistant")
    return Chat(example.messages[: last + 1], example.answers_from)


@dataclass(frozen=True)
class Cell:
    """What may stand in a column."""

    wants: str
    """In words, for messages: 'a string', …"""
    string: bool = False
    chat: bool = False
    answer: bool = False
    """Whether a chat must hold an assistant's answer to be trained on."""
    alone: bool = False
    """Whether that answer may be the first message (the prompt stands in another column)."""
    also: tuple[str, ...] = ()
    """Other names that such a column goes by, in lower case."""
    by_look: bool = False
    """Whether a column of any name is taken for it by what stands in it."""
    optional: bool = False
    """Whether the column, or a cell of it, may be missing or empty."""


@dataclass(frozen=True)
class Format:
    """One shape of rows: its columns, what stands in them, and how a row is read."""

    name: str
    columns: Mapping[str, Cell]
    example: Callable[[Mapping[str, Any]], Example]
    """A checked row, by the format's column names, as an example to train on."""
    python: Callable[[Mapping[str, str]], Mapping[str, str]] = dict
    """The same in Python: expressions of the columns to those of the columns to have instead."""
    remark: str = ""
    """How a row is put together, for the note."""

    @property
    def wants(self) -> str:
        """In words: 'prompt (…) and completion (…)'."""
        return " and ".join(f"{name} ({cell.wants})" for name, cell in self.columns.items())


def _messages(row: Mapping[str, Any]) -> Example:
    return Chat(row["messages"])


def _alpaca(row: Mapping[str, Any]) -> Example:
    asked = row["instruction"] + (f"\n\n{row['input']}" if row.get("input") else "")
    return Chat(
        [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"]}]
    )


def _alpaca_python(cells: Mapping[str, str]) -> Mapping[str, str]:
    asked = cells["instruction"]
    if "input" in cells:
        asked += f' + ("\\n\\n" + {cells["input"]} if {cells["input"]} else "")'
    answered = cells["output"]
    return {
        "messages": f'[{{"role": "user", "content": {asked}}}, '
        f'{{"role": "assistant", "content": {answered}}}]'
    }


def _prompt_completion(row: Mapping[str, Any]) -> Example:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, str):
        return Pair(prompt, completion)
    return Chat([*prompt, *completion], answers_from=len(prompt))


def _text(row: Mapping[str, Any]) -> Example:
    return Text(row["text"])


def shown(name: str) -> str:
    """A column's name as it stands in a line: as it is, or clipped and escaped where it must be."""
    return name if name.isprintable() and 0 < len(name) <= 60 else quoted(name)


CHAT = "a chat: a list of {role, content}"

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
        # Stanford Alpaca (github.com/tatsu-lab/stanford_alpaca): the input is a context that
        # stands under the instruction, a blank line between; its headings ("### Instruction:")
        # are left out, since chats mark who speaks themselves.
        Format(
            "alpaca",
            {
                "instruction": Cell("a string", string=True),
                "input": Cell(
                    "a string, or nothing", string=True, optional=True, also=("context",)
                ),
                "output": Cell(
                    "a string", string=True, also=("response", "answer", "completion", "target")
                ),
            },
            _alpaca,
            _alpaca_python,
            "the input under the instruction, after a blank line",
        ),
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
    )
}
"""Every format. A new one is an entry here."""

SFT = ("messages", "alpaca", "prompt_completion", "text")
"""What supervised fine-tuning can train on."""


@dataclass(frozen=True)
class Reading:
    """A format, which of the user's columns stands for each of its own, and how it is spelled."""

    format: Format
    columns: Mapping[str, str]
    """The format's column name to the user's."""
    spellings: Mapping[str, Spelling] = field(default_factory=dict)
    """The format's column name to how chats are written in it; PLAIN where it isn't said."""

    def cell(self, ours: str, value: Any) -> Any:
        """What stands in a column, brought to the usual spelling.

        Raises:
            ValueError: it can't be, and why.
        """
        return self.spellings.get(ours, PLAIN).read(value)

    def example(self, row: Mapping[str, Any]) -> Example:
        """A checked row, by the user's column names, as an example to train on."""
        return self.format.example(
            {ours: self.cell(ours, row[theirs]) for ours, theirs in self.columns.items()}
        )

    def note(self, found: Sequence[str]) -> str:
        """How the data is read, and which of the columns `found` are not used, in a line."""
        columns = ", ".join(self._told(ours, theirs) for ours, theirs in self.columns.items())
        remark = self.format.remark if len(self.columns) == len(self.format.columns) else ""
        unused = [name for name in found if name not in self.columns.values()]
        rest = f"; columns not used: {listed(map(shown, unused))}" if unused else ""
        remark = f"; {remark}" if remark else ""
        return f"rows are read as {self.format.name} ({columns}{remark}){rest}"

    def _told(self, ours: str, theirs: str) -> str:
        told = ours if ours == theirs else f"{ours} from {shown(theirs)}"
        spelling = self.spellings.get(ours, PLAIN)
        return f"{told}, {spelling.name}" if spelling.name else told
