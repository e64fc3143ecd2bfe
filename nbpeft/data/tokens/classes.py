"""Texts to classify as token ids, framed as the tokenizer frames a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.examples import Example, Labelled
from nbpeft.data.splitting.parts import Part
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.rendering import encode, frame
from nbpeft.data.tokens.row import Row
from nbpeft.errors import DataError, listed, quoted
from nbpeft.rendering import count

if TYPE_CHECKING:
    from datasets import Features
    from transformers import PreTrainedTokenizerBase


class ClassEncoder:
    """Turns labelled texts into ids and the number of their label."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        label: str,
        column: str,
        names: Sequence[str],
    ) -> None:
        self.counts = Counts()
        self.ends = Ends(frozenset(), "", "", 0)
        """Nothing is answered."""
        self._tokenizer = tokenizer
        self.room = max_length
        """Tokens that a text may have."""
        self._label = label
        self._column = column
        self._numbers = {name: number for number, name in enumerate(names)}
        self._before, self._after = frame(tokenizer)

    def features(self, part: Part) -> Features:
        """input_ids and label, a number among the names."""
        from datasets import Features, List, Value

        return Features({"input_ids": List(Value("int32")), "label": Value("int64")})

    def batch(self, examples: list[Example], numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The columns of `features`.

        Raises:
            DataError: a label that no row to train on has.
        """
        made = []
        written = self.written(examples, numbers)
        for example, number, rows in zip(examples, numbers, written, strict=True):
            assert isinstance(example, Labelled)  # the format reads nothing else
            read, _ = rows[0].columns(self.count(rows, number)[0])
            made.append({"input_ids": read, "label": self._number(example, number)})
        return made

    def rest(self) -> list[dict[str, Any]]:
        """Nothing: no row waits for another."""
        return []

    def written(self, examples: list[Example], numbers: Sequence[int]) -> list[list[Row]]:
        """The texts, with what the tokenizer puts before and after one; that stays when cut."""
        texts = [example.text for example in examples if isinstance(example, Labelled)]
        rows = []
        for ids in encode(self._tokenizer, texts)["input_ids"]:
            whole = [*self._before, *ids, *self._after]
            rows.append([Row(whole, [], [], apart=len(whole), tail=len(self._after))])
        return rows

    def count(self, rows: Sequence[Row], number: int) -> list[list[int | None]]:
        """What is kept of the text, counted."""
        labels = rows[0].labels(self.room)
        self.counts.rows += 1
        self.counts.cut += None in labels
        self.counts.tokens += len(labels) - labels.count(None)
        return [labels]

    def remark(self, row: Row, labels: Sequence[int | None]) -> str:
        """Whether the text is cut."""
        kept = len(labels) - labels.count(None)
        return f"The text is cut to {count(kept)} tokens." if None in labels else ""

    def _number(self, example: Labelled, number: int) -> int:
        name = str(example.label)
        if name not in self._numbers:
            raise DataError(
                f"Row {number} of {quoted(self._label)}, column {quoted(self._column)}: no row to "
                f"train on has the label {quoted(name)}; they have {listed(self._numbers)}. Drop "
                "the row, or train on some of its kind."
            )
        return self._numbers[name]
