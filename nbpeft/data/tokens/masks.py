"""Examples as token ids, with the spans of tokens that are to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.examples import (
    Chat,
    Example,
    Pair,
    Rating,
    Text,
    Written,
    as_chat,
    texts_of,
)
from nbpeft.data.splitting.parts import Part
from nbpeft.data.tokens.answers import Writer
from nbpeft.data.tokens.columns import columns_of, features_of
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends, ends_of_text
from nbpeft.data.tokens.marks import Span
from nbpeft.data.tokens.rendering import (
    Rendering,
    closed,
    encode,
    frame,
    opened,
    shared,
)
from nbpeft.data.tokens.row import NOT_TRAINED, Row
from nbpeft.data.tokens.sides import Sides
from nbpeft.errors import DataError, quoted
from nbpeft.rendering import count
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from datasets import Features
    from transformers import BatchEncoding, PreTrainedTokenizerBase


class Encoder:
    """Turns examples into ids and labels, a batch at a time, and counts what it met."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        max_length: int,
        label: str,
        loss_on: LossOn = "answers",
    ) -> None:
        self.counts = Counts()
        self._tokenizer = tokenizer
        self._rendering = rendering
        self.room = max_length
        """Tokens that a text may have."""
        self._label = label
        self._loss_on = loss_on
        self._writer = Writer(tokenizer, rendering, label, self.counts, loss_on)
        self._before, self._after = frame(tokenizer)
        self._sides = Sides(tokenizer, rendering, label, self._writer) if rendering.apart else None
        self.ends: Ends = self._sides.ends if self._sides else ends_of_text(tokenizer, self._after)
        """How answers end; for chats it is known once there was one."""
        eos = tokenizer.eos_token_id
        self._end = [] if eos is None else [int(eos)]

    def features(self, part: Part) -> Features:
        """The types of these columns."""
        return features_of(part.examples(1)[0])

    def batch(self, examples: list[Example], numbers: Sequence[int]) -> list[dict[str, Any]]:
        """What a trainer gets (`columns_of`) of the examples that have tokens to train.

        Args:
            numbers: the user's number of each example, for messages.

        Raises:
            DataError: the chat template refuses a row.
        """
        made = []
        written = self.written(examples, numbers)
        for example, number, rows in zip(examples, numbers, written, strict=True):
            labels = self.count(rows, number)
            if labels:
                self.counts.good += isinstance(example, Rating) and example.good
                made.append(columns_of(example, rows, labels))
        return made

    def count(self, rows: Sequence[Row], number: int) -> list[list[int | None]]:
        """The labels of an example's texts, counted; none where one has no token to train."""
        counts = self.counts
        labels = [row.labels(self.room) for row in rows]
        counts.cut += any(row.length > self.room for row in rows)
        kept = [len(own) - own.count(None) for own in labels]
        trained = [k - own.count(NOT_TRAINED) for k, own in zip(kept, labels, strict=True)]
        if not all(trained):
            counts.dropped.append(number)
            return []
        counts.rows += 1
        counts.tokens += sum(kept)
        counts.trained_tokens += sum(trained)
        counts.ended += any(self.ended(*both) for both in zip(rows, labels, strict=True))
        return labels

    def rest(self) -> list[dict[str, Any]]:
        """Nothing: no row waits for another."""
        return []

    def written(self, examples: list[Example], numbers: Sequence[int]) -> list[list[Row]]:
        """Of each example its texts (`texts_of`) as `rows` has them."""
        texts = [texts_of(example) for example in examples]
        flat = [text for own in texts for text in own]
        known_as = [n for own, n in zip(texts, numbers, strict=True) for _ in own]
        rows = iter(self.rows(flat, known_as))
        return [[next(rows) for _ in own] for own in texts]

    def ended(self, row: Row, labels: Sequence[int | None]) -> int:
        """How many answers of a row have their end token among its labels."""
        return sum(self.ends.within(labels, start, stop) for start, stop in row.answers)

    def remark(self, row: Row, labels: Sequence[int | None]) -> str:
        """Whether the end token of a text is trained, in a line."""
        shown = self.ends.shown
        if not shown:
            return "The tokenizer has no end token: none is trained."
        ended, answers = self.ended(row, labels), len(row.answers)
        cut = ""
        if None in labels[-1:]:
            kept = labels[row.apart or 0 :]
            what = "row" if row.apart is None else "answer"
            cut = f": the {what} is cut at {count(len(kept) - kept.count(None))} tokens"
        if not ended:
            return f"The end token {shown} is not trained{cut}."
        of = f" after {ended} of {answers} answers" if answers > 1 else ""
        return f"The end token {shown} is trained{of}{cut if ended < answers else ''}."

    def rows(self, examples: Sequence[Written], numbers: Sequence[int]) -> list[Row]:
        """The examples as tokens, whole: nothing is cut, dropped or counted as trained.

        Raises:
            DataError: the chat template refuses a row.
        """
        if self._sides:
            rows = [self._side_by_side(*sides) for sides in self._sides.ids(examples, numbers)]
            self.ends = self._sides.ends
            return rows
        if self._rendering.kind == "text":
            return self._texts([e.text for e in examples if isinstance(e, Text)])
        if self._rendering.kind == "join":
            for number, example in zip(numbers, examples, strict=True):
                if not isinstance(example, Pair):
                    raise DataError(
                        f"{self._row(number)} is a chat where the rows before it are strings; "
                        "make them all chats, or all strings."
                    )
            return self._pairs([e for e in examples if isinstance(e, Pair)])
        return self._chats([as_chat(example) for example in examples], numbers)

    def _row(self, number: int) -> str:
        return f"Row {number} of {quoted(self._label)}"

    def _side_by_side(self, prompt: list[int], answer: list[int], tail: int) -> Row:
        ids = prompt + answer
        answers = [(len(prompt), len(ids))]
        return Row(ids, answers, answers, apart=len(prompt), tail=tail)

    def _marked(self, ids: list[int], answers: list[Span]) -> Row:
        return Row(ids, answers, [(0, len(ids))] if self._loss_on == "all" else answers)

    def _finished(self, ids: list[int]) -> list[int]:
        """`ids` with what the tokenizer puts after a text, and the end token once."""
        return closed(ids, self._after + [token for token in self._end if token not in self._after])

    def _texts(self, texts: list[str]) -> list[Row]:
        rows = []
        for ids in encode(self._tokenizer, texts)["input_ids"]:
            whole = self._finished(opened(list(ids), self._before))
            rows.append(self._marked(whole, [(0, len(whole))]))
        return rows

    def _pairs(self, pairs: list[Pair]) -> list[Row]:
        """Prompt and completion tokenized as one text, where the prompt's tokens stay the same.

        Where a token would span both, they are tokenized apart, since the prompt is tokenized
        alone when the model is asked.
        """
        prompts = encode(self._tokenizer, [pair.prompt for pair in pairs])["input_ids"]
        joint = encode(self._tokenizer, [p.prompt + p.completion for p in pairs])["input_ids"]
        rows = []
        for pair, prompt, both in zip(pairs, prompts, joint, strict=True):
            ids = both
            if both[: len(prompt)] != prompt:
                self.counts.split_apart += 1
                ids = prompt + encode(self._tokenizer, [pair.completion])["input_ids"][0]
            start = len(opened(prompt, self._before))
            whole = self._finished(opened(ids, self._before))
            rows.append(self._marked(whole, [(start, len(whole))]))
        return rows

    def _chats(self, chats: list[Chat], numbers: Sequence[int]) -> list[Row]:
        fulls = self._writer.write([chat.messages for chat in chats], numbers)
        encoded = encode(self._tokenizer, fulls)
        kept = [self._last_char_kept(encoded, row, text) for row, text in enumerate(fulls)]
        self.ends = self._writer.learn(chats[0].messages)
        spans = self._writer.answers(chats, fulls, kept, numbers)
        before = [] if self._rendering.kind == "chat" else self._before
        rows = []
        for row, characters in enumerate(spans):
            ids = list(encoded["input_ids"][row])
            tokens = [self._tokens(encoded, row, fulls[row], ids, span) for span in characters]
            if tokens and tokens[-1][1] == len(ids):
                ids, tokens[-1] = self._ended(ids, tokens[-1])
            shift = len(opened(ids, before)) - len(ids)
            rows.append(
                self._marked(opened(ids, before), [(a + shift, b + shift) for a, b in tokens])
            )
        return rows

    def _last_char_kept(self, encoded: BatchEncoding, row: int, text: str) -> int:
        """Where the text is cut: answers that begin later needn't be looked for."""
        if not self._tokenizer.is_fast or len(encoded["input_ids"][row]) <= self.room:
            return len(text)
        span = encoded.token_to_chars(row, self.room - 1)
        return len(text) if span is None else int(span.end)

    def _tokens(
        self, encoded: BatchEncoding, row: int, text: str, ids: list[int], span: Span
    ) -> Span:
        """The tokens that reach into the characters of `span`."""
        if self._tokenizer.is_fast:
            return (
                _token_at(encoded, row, span[0], len(text), len(ids)),
                _token_at(encoded, row, span[1], len(text), len(ids)),
            )
        heads = encode(self._tokenizer, [text[: span[0]], text[: span[1]]])["input_ids"]
        return shared(heads[0], ids), shared(heads[1], ids)

    def _ended(self, ids: list[int], span: Span) -> tuple[list[int], Span]:
        """The row with an end token, where the template writes none after the last answer."""
        if not self._end or self.ends.within(ids, *span):
            return ids, span
        self.counts.end_added += 1
        return ids + self._end, (span[0], span[1] + len(self._end))


def _token_at(encoded: BatchEncoding, row: int, char: int, chars: int, tokens: int) -> int:
    """The first token that ends after `char`.

    Some tokenizers leave spaces out of a token's characters, so the next few are tried.
    """
    for place in range(char, chars):
        token: Any = encoded.char_to_token(row, place)
        if token is not None:
            return int(token)
    return tokens
