"""Rows of an encoder-decoder: a prompt that its encoder reads, an answer that its decoder writes.

Each side is a text of its own, with what the tokenizer puts before and after one (T5: its end token
after both). So a row is a prompt and one answer to it; raw text, and a chat with several answers,
are no such pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from nbpeft.data.reading.examples import Message, Pair, Text, Written, as_chat
from nbpeft.data.splitting.parts import Part
from nbpeft.data.tokens.answers import Writer
from nbpeft.data.tokens.ends import ends_of_text
from nbpeft.data.tokens.rendering import Rendering, closed, encode, frame, is_question, opened
from nbpeft.errors import DataError, quoted
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_sides(parts: Sequence[Part], loss_on: LossOn) -> None:
    """Refuse what an encoder-decoder can't learn from.

    Raises:
        DataError: raw text, or prompts that are to be trained as well.
    """
    raw = next((part for part in parts if isinstance(part.examples(1)[0], Text)), None)
    if raw:
        raise DataError(
            f"{quoted(raw.label)} is read as raw text, and an encoder-decoder learns from prompts "
            "and their answers: give rows with prompt and completion, or say with --columns which "
            "columns those are."
        )
    if loss_on == "all":
        raise DataError(
            "--loss-on all would train the prompts as well, which an encoder-decoder only reads; "
            "leave it out."
        )


class Sides:
    """Turns examples into the ids of a prompt and of its answer."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, rendering: Rendering, label: str, writer: Writer
    ) -> None:
        self._tokenizer = tokenizer
        self._chat = rendering.kind == "chat"
        self._label = label
        self._writer = writer
        self._prompt_frame = frame(tokenizer)
        self._answer_frame = frame(tokenizer, answers=True)
        self._end: int | None = tokenizer.eos_token_id
        self.ends = ends_of_text(tokenizer, self._answer_frame[1])
        """How answers end; for chats it is known once there was one."""

    def ids(
        self, examples: Sequence[Written], numbers: Sequence[int]
    ) -> list[tuple[list[int], list[int], int]]:
        """(prompt, answer, how many tokens at the prompt's end stay when it is cut) of each.

        Args:
            numbers: the user's number of each example, for messages.

        Raises:
            DataError: a chat that is no prompt with one answer, or that the template refuses.
        """
        if self._chat:
            chats = [self._chat_of(e, n) for e, n in zip(examples, numbers, strict=True)]
            self.ends = self._writer.learn(chats[0])
            prompts = self._writer.write([chat[:-1] for chat in chats], numbers, opening=True)
            answers = [chat[-1]["content"] + self.ends.closing for chat in chats]
        else:
            pairs = [self._pair_of(e, n) for e, n in zip(examples, numbers, strict=True)]
            prompts = [pair.prompt for pair in pairs]
            answers = [pair.completion for pair in pairs]
        read = encode(self._tokenizer, prompts)["input_ids"]
        written = encode(self._tokenizer, answers, answers=True)["input_ids"]
        tail = len(self._prompt_frame[1])
        return [
            (self._prompt(list(prompt)), self._answer(list(answer)), tail)
            for prompt, answer in zip(read, written, strict=True)
        ]

    def _prompt(self, ids: list[int]) -> list[int]:
        """As `Rendering.prompt_ids` has it when the model is asked."""
        before, after = self._prompt_frame
        return closed(opened(ids, [] if self._chat else before), after)

    def _answer(self, ids: list[int]) -> list[int]:
        """With its end token once, whatever the tokenizer or the template puts there itself."""
        before, after = self._answer_frame
        if not self._chat:
            ids = closed(opened(ids, before), after)
        ended = self.ends.within(ids, 0, len(ids))
        return ids if ended or self._end is None else [*ids, self._end]

    def _chat_of(self, example: Written, number: int) -> list[Message]:
        chat = as_chat(example)
        answers = [m for m in chat.messages[chat.answers_from :] if m["role"] == "assistant"]
        if len(answers) != 1:
            self._refuse(number, f"is a chat with {len(answers)} answers", "one answer")
        if not isinstance(answers[0].get("content"), str):
            self._refuse(number, "is answered by a call of a tool", "answers in words")
        return chat.messages

    def _pair_of(self, example: Written, number: int) -> Pair:
        if isinstance(example, Pair):
            return example
        prompt, answer = as_chat(example).messages[:-1], as_chat(example).messages[-1]
        if not is_question(prompt):
            self._refuse(
                number,
                f"is a chat of {len(prompt) + 1} messages",
                "one message of the user and one answer (the tokenizer has no chat template)",
            )
        if not isinstance(answer.get("content"), str):
            self._refuse(number, "is answered by a call of a tool", "answers in words")
        return Pair(prompt[0]["content"], answer["content"])

    def _refuse(self, number: int, what: str, wanted: str) -> NoReturn:
        raise DataError(
            f"Row {number} of {quoted(self._label)} {what}, and an encoder-decoder learns from "
            f"{wanted}: give rows with prompt and completion."
        )
