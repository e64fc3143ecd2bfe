"""Prompts as token ids, as the model is asked them, with all that a reward may want beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.examples import Asked, Example, Message, as_messages
from nbpeft.data.splitting.parts import Part
from nbpeft.data.tokens.answers import Writer
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.rendering import Rendering, encode, frame, opened
from nbpeft.data.tokens.row import Row
from nbpeft.errors import DataError, quoted
from nbpeft.rendering import count

if TYPE_CHECKING:
    from datasets import Features
    from transformers import PreTrainedTokenizerBase


class QuestionEncoder:
    """Turns prompts into the ids that `Rendering.prompt_ids` gives."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        room: int,
        label: str,
        *,
        chats: bool,
    ) -> None:
        """Makes an encoder.

        Args:
            room: tokens that a prompt may have.
            chats: whether prompts are handed on as messages; else as strings.
        """
        self.counts = Counts()
        self.ends = Ends(frozenset(), "", "", 0)
        """Nothing is answered yet."""
        self._tokenizer = tokenizer
        self._rendering = rendering
        self.room = room
        """Tokens that a prompt may have."""
        self._label = label
        self._chats = chats
        self._writer = Writer(tokenizer, rendering, label, self.counts, "answers")
        self._before = [] if rendering.kind == "chat" else frame(tokenizer)[0]

    def features(self, part: Part) -> Features:
        """input_ids, prompt, and the row's other columns."""
        from datasets import Features, List, Value

        message = {"role": Value("string"), "content": Value("string")}
        prompt = List(message) if self._chats else Value("string")
        used = part.reading.columns.values()
        beside = {name: kind for name, kind in part.dataset.features.items() if name not in used}
        return Features({"input_ids": List(Value("int32")), "prompt": prompt} | beside)

    def batch(self, examples: list[Example], numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The columns of `features`, of the prompts that leave room for an answer."""
        made = []
        written = self.written(examples, numbers)
        for example, number, rows in zip(examples, numbers, written, strict=True):
            assert isinstance(example, Asked)  # the formats read nothing else
            if self.count(rows, number):
                prompt = self._messages(example) if self._chats else example.prompt
                made.append({"input_ids": rows[0].ids, "prompt": prompt} | dict(example.beside))
        return made

    def rest(self) -> list[dict[str, Any]]:
        """Nothing: no row waits for another."""
        return []

    def written(self, examples: list[Example], numbers: Sequence[int]) -> list[list[Row]]:
        """The prompts, each with what opens the answer."""
        asked = [example for example in examples if isinstance(example, Asked)]
        if self._rendering.kind == "join":
            texts = [self._string(e, n) for e, n in zip(asked, numbers, strict=True)]
        else:
            chats = [as_messages(example.prompt, "user") for example in asked]
            texts = self._writer.write(chats, numbers, opening=True)
        read = encode(self._tokenizer, texts)["input_ids"]
        return [[Row(opened(list(ids), self._before), [], [])] for ids in read]

    def count(self, rows: Sequence[Row], number: int) -> list[list[int | None]]:
        """No token of a prompt is trained; one that leaves no room is noted as dropped."""
        labels = rows[0].labels(self.room)
        if rows[0].length > self.room:
            self.counts.cut += 1
            self.counts.dropped.append(number)
            return []
        self.counts.rows += 1
        self.counts.tokens += rows[0].length
        return [labels]

    def remark(self, row: Row, labels: Sequence[int | None]) -> str:
        """Whether the prompt is too long."""
        return f"The prompt is over {count(self.room)} tokens." if None in labels else ""

    def _string(self, example: Asked, number: int) -> str:
        if isinstance(example.prompt, str):
            return example.prompt
        raise DataError(
            f"Row {number} of {quoted(self._label)} is a chat where the rows before it are "
            "strings; make them all chats, or all strings."
        )

    def _messages(self, example: Asked) -> list[Message]:
        """Messages of role and content: what a trainer's columns hold."""
        return [
            {"role": message["role"], "content": message.get("content") or ""}
            for message in as_messages(example.prompt, "user")
        ]
