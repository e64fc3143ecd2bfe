"""Where in a rendered chat the answers stand.

{% generation %} marks tell it where there are any that can be believed (`marks`). Else the
characters of an answer are those that rendering it adds to the rendered chat before it (with the
opening of the answer). The whole chat is rendered once to be tokenized; the shorter renderings only
say where answers begin and end. Either way the end of the turn belongs to the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbpeft.data.reading.examples import Chat, Message
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends, ends_of_chat
from nbpeft.data.tokens.marks import Marks, Span, marks_of
from nbpeft.data.tokens.rendering import Rendering, one_line, shared, template_errors
from nbpeft.errors import DataError, quoted
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Writer:
    """Writes chats in a rendering; its errors name the row."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        label: str,
        counts: Counts,
        loss_on: LossOn,
    ) -> None:
        self._tokenizer = tokenizer
        self._rendering = rendering
        self._label = label
        self._counts = counts
        self._loss_on = loss_on
        self._known: tuple[Marks | None, Ends] | None = None

    def learn(self, messages: list[Message]) -> Ends:
        """How the template marks and ends answers, seen once, on a chat that it takes."""
        if self._known is None:
            marks = marks_of(self._tokenizer, self._rendering, messages)
            self._known = marks, ends_of_chat(self._tokenizer, self._rendering, messages)
        return self._known[1]

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
        """Per chat, the spans of characters of its answers to train, in order.

        Where the template has no marks and writes earlier turns otherwise once a later one is
        there, only the last answer is told, and counted.

        Args:
            chats: each ends with an answer.
            texts: the chats as text.
            kept: how many characters of each will be kept: later answers aren't looked for.
            numbers: the user's row number of each.

        Raises:
            DataError: not even the last answer can be told from the rest.
        """
        ends = self.learn(chats[0].messages)
        spans = [self._marked(chat, text) for chat, text in zip(chats, texts, strict=True)]
        rest = [row for row, found in enumerate(spans) if not found]
        told = self._by_prefixes(chats, texts, kept, numbers, rest)
        return [
            [_ended(span, text, ends.closing) for span in found or told[row]]
            for row, (found, text) in enumerate(zip(spans, texts, strict=True))
        ]

    def _marked(self, chat: Chat, text: str) -> list[Span]:
        """The answers that the marks tell; none where there are no marks to believe."""
        assert self._known is not None  # `answers` learns it first
        marks = self._known[0]
        told = marks.spans(chat.messages, text) if marks else None
        if marks is None or told is None:
            return []
        turns = [i for i, message in enumerate(chat.messages) if message["role"] == "assistant"]
        told[-1] = (told[-1][0], len(text))  # a chat ends with its last answer
        wanted = self._wanted(chat)
        self._counts.by_own_marks += marks.own
        self._counts.by_trl_marks += not marks.own
        return [span for turn, span in zip(turns, told, strict=True) if turn in wanted]

    def _wanted(self, chat: Chat) -> list[int]:
        """Indices of the turns to train."""
        places = range(chat.answers_from, len(chat.messages))
        turns = [i for i in places if chat.messages[i]["role"] == "assistant"]
        return turns[-1:] if self._loss_on == "last" else turns

    def _by_prefixes(
        self,
        chats: list[Chat],
        texts: list[str],
        kept: list[int],
        numbers: Sequence[int],
        rows: list[int],
    ) -> dict[int, list[Span]]:
        """The answers of some rows, as what each adds to the chat rendered before it."""
        self._counts.by_prefixes += len(rows)
        turns = [
            (row, turn)
            for row in rows
            for turn in self._wanted(chats[row])
            if _begins_within(chats[row].messages[:turn], kept[row])
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
        spans: dict[int, list[Span]] = {row: [] for row in rows}
        unstable = set()
        for (row, turn), prompt in zip(turns, prompts, strict=True):
            end = ends.get((row, turn), texts[row])
            if texts[row].startswith(end) and end.startswith(prompt):
                spans[row].append((len(prompt), len(end)))
            else:
                unstable.add(row)
        for row in unstable:
            self._counts.last_answer_only += len(self._wanted(chats[row])) > 1
            spans[row] = [self._last(chats[row].messages, texts[row], numbers[row])]
        return spans

    def _last(self, messages: list[Message], text: str, number: int) -> Span:
        """The last answer, where the template opens an answer otherwise than it then writes it."""
        [prompt] = self.write([messages[:-1]], [number], opening=True)
        [asked] = self.write([messages[:-1]], [number])
        start = shared(prompt, text)
        opening = prompt[len(asked) :]
        # With the opening after that, the end of the question would count as answered.
        if start < len(asked) or (opening and opening in text[start:]):
            raise DataError(
                f"Row {number} of {quoted(self._label)}: the tokenizer's chat template writes the "
                "turns before an answer in another way once it is given, so which tokens answer "
                "can't be told; set another tokenizer.chat_template."
            )
        self._counts.other_opening += start < len(prompt)
        return start, len(text)


def _begins_within(before: list[Message], characters: int) -> bool:
    """Whether what comes after these messages may begin within so many characters."""
    return sum(len(str(m.get("content") or "").strip()) for m in before) <= characters


def _ended(span: Span, text: str, closing: str) -> Span:
    """An answer with its end of turn, where marks leave that out."""
    start, stop = span
    if closing and text.startswith(closing, stop):
        return start, stop + len(closing)
    return span
