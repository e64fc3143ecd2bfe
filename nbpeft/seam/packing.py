"""Batches that hold no padding: the rows of one batch behind one another, as one sequence.

What a forward needs beside the tokens is worked out here, on the host, where the rows are lists of
integers: where each row begins, how long it is, which positions are scored and against which token.
So no shape in the forward depends on a tensor's values: nothing waits for the GPU, and a trace of
shapes alone (FakeTensorMode) runs the same step. Packing never joins rows of different batches: a
batch holds the rows that it would hold with padding, and means the same.

Four layouts, told apart by what is in the batch:

- packed: `input_ids` and `position_ids` (1, tokens), `lengths` as integers;
- branched: packed, where rows that begin alike hold their beginning once; with `key_lengths` as
  integers, `keys` (all keys) and `key_starts` (rows);
- prefixed: packed, where all rows go on from what was read before; with `prefix`, its length;
- padded: `input_ids` and `attention_mask` (rows, longest).

In all, with n tokens that are trained: `scored` (n), where in the flattened batch stand those
whose next token carries a label; `labels` (n), that next token. `starts` (rows) comes first: the
trainer reads from a batch's first tensor how many rows it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

NOT_TRAINED = -100
"""The label of a token that isn't trained."""


@dataclass(frozen=True)
class Packed:
    """A collator: rows of `input_ids` and `labels` -> one sequence without padding."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch; see the module's text."""
        import torch

        lengths = [len(row["input_ids"]) for row in rows]
        starts = [0, *accumulate(lengths)][:-1]
        ids = torch.tensor([list(chain.from_iterable(row["input_ids"] for row in rows))])
        positions = list(chain.from_iterable(range(length) for length in lengths))
        return {
            "starts": torch.tensor(starts),
            "input_ids": ids,
            "position_ids": torch.tensor([positions]),
            "lengths": lengths,
            **_scored(rows, starts),
        }


@dataclass(frozen=True)
class Branched:
    """A collator: rows that may begin alike -> one sequence that holds each beginning once.

    A row's `shared` says how many tokens it has in common with the last row before it whose own
    `shared` is 0; of these none carries a label. Answers to one prompt cost it one pass then.
    """

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch; see the module's text."""
        import torch

        lengths = [len(row["input_ids"]) - row["shared"] for row in rows]
        starts = [0, *accumulate(lengths)][:-1]
        key_lengths = [len(row["input_ids"]) for row in rows]
        ids: list[int] = []
        positions: list[int] = []
        keys: list[int] = []
        trunks: list[int] = []
        trunk = 0
        for row, start in _with(rows, starts):
            shared, length = row["shared"], len(row["input_ids"])
            trunk = trunk if shared else start
            trunks.append(trunk)
            ids += row["input_ids"][shared:]
            positions += range(shared, length)
            keys += [*range(trunk, trunk + shared), *range(start, start + length - shared)]
        return {
            "starts": torch.tensor(starts),
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.tensor([positions]),
            "lengths": lengths,
            "key_lengths": key_lengths,
            "keys": torch.tensor(keys),
            "key_starts": torch.tensor([0, *accumulate(key_lengths)][:-1]),
            **_scored_branched(rows, starts, trunks),
        }


@dataclass(frozen=True)
class Prefixed:
    """A collator: rows that all go on from a prefix (`nbpeft.seam.prefix`), packed without it.

    A row holds what comes after the prefix, of which the first token carries no label.
    """

    length: int
    """Tokens of the prefix."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch; see the module's text."""
        batch = Packed()(rows)
        return {**batch, "position_ids": batch["position_ids"] + self.length, "prefix": self.length}


@dataclass(frozen=True)
class Padded:
    """A collator: rows of `input_ids` and `labels` -> padded on the right to the longest."""

    filler: int
    """The id that padding has; it is masked by position."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch; see the module's text."""
        import torch

        lengths = [len(row["input_ids"]) for row in rows]
        width = max(lengths)
        starts = [width * row for row in range(len(rows))]
        ids = [[*row["input_ids"], *[self.filler] * (width - n)] for row, n in _with(rows, lengths)]
        mask = [[1] * length + [0] * (width - length) for length in lengths]
        return {
            "starts": torch.tensor(starts),
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(mask),
            "lengths": lengths,
            **_scored(rows, starts),
        }


def _with(rows: Sequence[Any], lengths: Sequence[int]) -> zip[tuple[Any, int]]:
    return zip(rows, lengths, strict=True)


def _scored(rows: Sequence[dict[str, Any]], starts: Sequence[int]) -> dict[str, Any]:
    """Which positions are scored, against what; a row's last position has no next token."""
    scored: list[int] = []
    targets: list[int] = []
    for row, start in _with(rows, starts):
        for position, label in enumerate(row["labels"][1:], start):
            if label != NOT_TRAINED:
                scored.append(position)
                targets.append(label)
    return _labelled(scored, targets)


def _scored_branched(
    rows: Sequence[dict[str, Any]], starts: Sequence[int], trunks: Sequence[int]
) -> dict[str, Any]:
    """Likewise; the first token of a branch follows on the last one that is shared."""
    scored: list[int] = []
    targets: list[int] = []
    for row, start, trunk in zip(rows, starts, trunks, strict=True):
        shared = row["shared"]
        for before, label in enumerate(row["labels"][1:]):
            if label != NOT_TRAINED:
                scored.append(trunk + before if before < shared else start + before - shared)
                targets.append(label)
    return _labelled(scored, targets)


def _labelled(scored: Sequence[int], targets: Sequence[int]) -> dict[str, Any]:
    import torch

    labels = torch.tensor(targets, dtype=torch.long)
    # Under both names: by the second the trainer knows that they are shifted, and counts them all.
    return {
        "scored": torch.tensor(scored, dtype=torch.long),
        "labels": labels,
        "shift_labels": labels,
    }
