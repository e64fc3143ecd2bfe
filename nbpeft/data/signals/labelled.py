"""Texts with the class that each is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.feedback import LABELLED
from nbpeft.data.reading.values import order_of
from nbpeft.data.signals.base import Signal
from nbpeft.data.splitting.parts import Part, Parts
from nbpeft.data.tokens.classes import ClassEncoder
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.ends import Ends
from nbpeft.data.tokens.notes import in_rows, none_held_out
from nbpeft.data.tokens.rendering import Rendering, frame
from nbpeft.errors import DataError, listed, quoted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Labels(Signal):
    """A text, and a label among at least two.

    Rows get input_ids, framed as the tokenizer does, and `label`, a number: in the order of a
    `datasets.ClassLabel`, else of the numbers or the alphabet; `Rows.label_names` has the names.
    """

    formats: tuple[str, ...] = LABELLED

    def check(self, parts: Parts) -> None:
        """Refuse rows of one label only: there is nothing to tell apart."""
        found = _counted(parts.train)
        if len(found) < 2:
            [(name, rows)] = found.items()
            first = parts.train[0]
            raise DataError(
                f"All {rows:,} rows of {quoted(first.label)} to train on have the label "
                f"{quoted(name)} (column {quoted(first.reading.columns['label'])}), so there is "
                "nothing to tell apart; give rows of two labels at least."
            )

    def rendering(self, parts: Parts, tokenizer: PreTrainedTokenizerBase) -> Rendering:
        """A text as it stands."""
        return Rendering("text")

    def encoders(
        self,
        parts: Parts,
        tokenizer: PreTrainedTokenizerBase,
        rendering: Rendering,
        max_length: int,
    ) -> Callable[[Part], ClassEncoder]:
        """Encoders that know the labels of all rows to train on."""
        names = self.label_names(parts)
        return lambda part: ClassEncoder(
            tokenizer, max_length, part.label, part.reading.columns["label"], names
        )

    def refusal(
        self, rendering: Rendering, counts: Counts, ends: Ends, label: str, max_length: int
    ) -> str | None:
        """Nothing more: `check` and the encoders have refused what can't be."""
        return None

    def notes(
        self,
        rendering: Rendering,
        parts: Parts,
        tokenizer: PreTrainedTokenizerBase,
        *,
        train: Counts,
        held_out: Counts | None,
        max_length: int,
    ) -> list[str]:
        """How many rows there are of each label, and how texts are framed and cut."""
        found = _counted(parts.train)
        rows = listed(f"{name} {found[name]:,}" for name in self.label_names(parts))
        before, after = map(tokenizer.decode, frame(tokenizer))
        framed = f"{before} … {after}".strip() if before or after else "nothing added"
        cut = train.cut + (held_out.cut if held_out else 0)
        notes = [f"rows of each label: {rows}", f"texts are read as they stand, {framed}"]
        if cut:
            notes.append(f"{in_rows(cut)} cut to {max_length} tokens (--max-length)")
        return [*notes, *none_held_out(train, held_out, "held-out accuracy")]

    def label_names(self, parts: Parts) -> tuple[str, ...]:
        """Those that a `datasets.ClassLabel` has, else those of all rows that were given."""
        import datasets

        names: dict[str, None] = {}
        for part in parts.read:
            feature = part.dataset.features[part.reading.columns["label"]]
            if isinstance(feature, datasets.ClassLabel):
                names |= dict.fromkeys(feature.names)
        found = order_of([label for part in parts.read for label in _labels(part)])
        return tuple(names | dict.fromkeys(found))


def _counted(parts: list[Part]) -> Counter[str]:
    """How many rows there are of each label."""
    return Counter(str(label) for part in parts for label in _labels(part))


def _labels(part: Part) -> list[Any]:
    """Of each row its label; texts aren't read for it."""
    column = part.reading.columns["label"]
    cells = part.dataset.select_columns([column])[:][column]
    return [part.reading.cell("label", cell) for cell in cells]
