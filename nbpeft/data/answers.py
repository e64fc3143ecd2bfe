"""Where in a rendered chat the answers stand.

The characters of an answer are those that rendering it adds to the rendered chat before it (with
the opening of the answer), its end-of-turn included. The whole chat is rendered once to be
tokenized; the shorter renderings only say where answers begin and end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbpeft.data.formats import Chat, Message
from nbpeft.data.rendering import Rendering, one_line, template_errors
from nbpeft.errors import DataError, quoted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""From the first to past the last."""


@dataclass
class Counts:
    """What happened to the rows of one data set, for the notes."""

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    cut: int = 0
    dropped: list[int] = field(default_factory=list)
    """Numbers of rows without a trained token."""
    last_answer_only: int = 0
    """The chat template writes earlier turns otherwise once a later one is there."""
    other_opening: int = 0
    """The chat template opens an answer otherwise than it then writes it."""
    split_apart: int = 0
    end_added: int = 0


class Writer:
    """Writes chats in a rendering; its errors name the row."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        label: str,
        counts: Counts,
    ) -> None:
        self._tokenizer = tokenizer
        self._rendering = rendering
        self._label = label
        self._counts = counts

    def write(
        self, chats: list[list[Message]], numbers: Sequence[int], opening: bool = False
    ) -> list[str]:
        """Chats as text; with `opening`, what opens the next answer at the end of each.

        Args:
            numbers: the user's row number of each.

        Raises:
            DataError: the template refuses one; the row is named.
        """
        try:
            return self._rendering.chats(self._tokenizer, chats, opening)
        except template_errors():
            for number, chat in zip(numbers, chats, strict=True):
                try:
                    self._rendering.chats(self._tokenizer, [chat], opening)
                except template_errors() as error:
                    raise DataError(
                        f"Row {number} of {quoted(self._label)}: the tokenizer's chat template "
                        f"refuses it: {one_line(error)}"
                    ) from error
            raise

    def answers(
        self, chats: list[Chat], texts: list[str], kept: list[int], numbers: Sequence[int]
    ) -> list[list[Span]]:
        """Per chat, the spans of characters of its answers, in order.

        Where the template writes earlier turns otherwise once a later one is there, only the last
        answer is told, and counted.

        Args:
            chats: each ends with an answer.
            texts: the chats as text.
            kept: how many characters of each will be kept: later answers aren't looked for.
            numbers: the user's row number of each.

        Raises:
            DataError: not even the last answer can be told from the rest.
        """
        turns = [
            (row, turn)
            for row, chat in enumerate(chats)
            for turn in _answers_within(chat, kept[row])
        ]
        prompts = self.write(
            [chats[row].messages[:turn] for row, turn in turns],
            [numbers[row] for row, _ in turns],
            opening=True,
        )
        inner = [(row, turn) for row, turn in turns if turn + 1 < len(chats[row].messages)]
        ends = dict(
            zip(
                inner,
                self.write(
                    [chats[row].messages[: turn + 1] for row, turn in inner],
                    [numbers[row] for row, _ in inner],
                ),
                strict=True,
            )
        )
        spans: list[list[Span]] = [[] for _ in chats]
        unstable = set()
        for (row, turn), prompt in zip(turns, prompts, strict=True):
            end = ends.get((row, turn), texts[row])
            if texts[row].startswith(end) and end.startswith(prompt):
                spans[row].append((len(prompt), len(end)))
            else:
                unstable.add(row)
        for row in unstable:
            self._counts.last_answer_only += len(_answers_within(chats[row])) > 1
            spans[row] = [self._last(chats[row].messages, texts[row], numbers[row])]
        return spans

    def _last(self, messages: list[Message], text: str, number: int) -> Span:
        """The last answer, where the template opens an answer otherwise than it then writes it."""
        [prompt] = self.write([messages[:-1]], [number], opening=True)
        [asked] = self.write([messages[:-1]], [number])
        start = shared(prompt, text)
        if start < len(asked):
            raise DataError(
                f"Row {number} of {quoted(self._label)}: the tokenizer's chat template writes the "
                "turns before an answer in another way once it is given, so which tokens answer "
                "can't be told; set another tokenizer.chat_template."
            )
        self._counts.other_opening += start < len(prompt)
        return start, len(text)


def _answers_within(chat: Chat, characters: int | None = None) -> list[int]:
    """Indices of the assistant's turns to train, those that begin within `characters`."""
    turns = []
    written = 0
    for place, message in enumerate(chat.messages):
        if characters is not None and written > characters:
            break
        if message["role"] == "assistant" and place >= chat.answers_from:
            turns.append(place)
        written += len(str(message.get("content") or "").strip())
    return turns


def shared(first: Sequence[object], second: Sequence[object]) -> int:
    """How many items the two have in common at their start."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))
