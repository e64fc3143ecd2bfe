"""Examples as token ids and labels, where only the answers have a label.

A label is the token itself where it is trained and -100 where it isn't. The first token of a row
never has one: nothing comes before it to predict it from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.data.answers import Counts, Span, Writer, shared
from nbpeft.data.formats import Chat, Example, Pair, Text
from nbpeft.data.rendering import (
    Rendering,
    encode,
    frame,
    opened,
)
from nbpeft.errors import DataError, quoted

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

NOT_TRAINED = -100
Encoded = tuple[list[int], list[Span]]
"""Token ids of a row and the spans of tokens, first to past the last, that are trained."""


class Encoder:
    """Turns examples into ids and labels, a batch at a time, and counts what it met."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        max_length: int,
        label: str,
    ) -> None:
        self.counts = Counts()
        self._tokenizer = tokenizer
        self._rendering = rendering
        self._max_length = max_length
        self._label = label
        self._writer = Writer(tokenizer, rendering, label, self.counts)
        self._before, self._after = frame(tokenizer)
        eos = tokenizer.eos_token_id
        self._end = [] if eos is None else [int(eos)]
        others = {tokenizer.bos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id} - {eos}
        self._end_tokens = (set(tokenizer.added_tokens_decoder) | set(self._end)) - others

    def batch(self, examples: list[Example], numbers: Sequence[int]) -> dict[str, list[list[int]]]:
        """Columns input_ids and labels of the examples that have a token to train.

        Args:
            numbers: the user's number of each example, for messages.

        Raises:
            DataError: the chat template refuses a row.
        """
        encoded = self._encode(examples, numbers)
        columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": []}
        counts = self.counts
        for number, (ids, spans) in zip(numbers, encoded, strict=True):
            counts.cut += len(ids) > self._max_length
            kept = ids[: self._max_length]
            labels = [NOT_TRAINED] * len(kept)
            for start, stop in spans:
                labels[max(start, 1) : stop] = kept[max(start, 1) : stop]
            trained = len(labels) - labels.count(NOT_TRAINED)
            if not trained:
                counts.dropped.append(number)
                continue
            counts.rows += 1
            counts.tokens += len(kept)
            counts.trained_tokens += trained
            columns["input_ids"].append(kept)
            columns["labels"].append(labels)
        return columns

    def _encode(self, examples: list[Example], numbers: Sequence[int]) -> list[Encoded]:
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
        return self._chats([_as_chat(example) for example in examples], numbers)

    def _row(self, number: int) -> str:
        return f"Row {number} of {quoted(self._label)}"

    def _finished(self, ids: list[int]) -> list[int]:
        """`ids` with what the tokenizer puts after a text, and the end token once."""
        tail = self._after + [token for token in self._end if token not in self._after]
        return ids if tail and ids[-len(tail) :] == tail else ids + tail

    def _texts(self, texts: list[str]) -> list[Encoded]:
        rows = []
        for ids in encode(self._tokenizer, texts)["input_ids"]:
            whole = self._finished(opened(list(ids), self._before))
            rows.append((whole, [(0, len(whole))]))
        return rows

    def _pairs(self, pairs: list[Pair]) -> list[Encoded]:
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
            rows.append((whole, [(start, len(whole))]))
        return rows

    def _chats(self, chats: list[Chat], numbers: Sequence[int]) -> list[Encoded]:
        fulls = self._writer.write([chat.messages for chat in chats], numbers)
        encoded = encode(self._tokenizer, fulls)
        kept = [self._last_char_kept(encoded, row, text) for row, text in enumerate(fulls)]
        spans = self._writer.answers(chats, fulls, kept, numbers)
        before = [] if self._rendering.kind == "chat" else self._before
        rows = []
        for row, characters in enumerate(spans):
            ids = list(encoded["input_ids"][row])
            tokens = [self._tokens(encoded, row, fulls[row], ids, span) for span in characters]
            if tokens and tokens[-1][1] == len(ids):
                ids, tokens[-1] = self._ended(ids, tokens[-1])
            shift = len(opened(ids, before)) - len(ids)
            rows.append((opened(ids, before), [(a + shift, b + shift) for a, b in tokens]))
        return rows

    def _last_char_kept(self, encoded: BatchEncoding, row: int, text: str) -> int:
        """Where the text is cut: answers that begin later needn't be looked for."""
        if not self._tokenizer.is_fast or len(encoded["input_ids"][row]) <= self._max_length:
            return len(text)
        span = encoded.token_to_chars(row, self._max_length - 1)
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
        if not self._end_tokens.isdisjoint(ids[max(span[0], span[1] - 4) : span[1]]):
            return ids, span
        self.counts.end_added += 1
        return ids + self._end, (span[0], span[1] + len(self._end))


def _as_chat(example: Example) -> Chat:
    """A pair as one user and one assistant turn; a chat up to its last answer."""
    if isinstance(example, Pair):
        asked, answered = example.prompt, example.completion
        return Chat(
            [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        )
    assert isinstance(example, Chat)  # texts are never rendered as chats
    last = max(i for i, message in enumerate(example.messages) if message["role"] == "assistant")
    return Chat(example.messages[: last + 1], example.answers_from)


def _token_at(encoded: BatchEncoding, row: int, char: int, chars: int, tokens: int) -> int:
    """The first token that ends after `char`.

    Some tokenizers leave spaces out of a token's characters, so the next few are tried.
    """
    for place in range(char, chars):
        token: Any = encoded.char_to_token(row, place)
        if token is not None:
            return int(token)
    return tokens
