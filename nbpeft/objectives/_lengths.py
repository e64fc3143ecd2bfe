"""Batches of rows of about one length, for what is padded: less padding, the same rows an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset


def by_length(rows: Dataset, args: Any) -> Any:
    """A sampler of each epoch's rows that puts those of about one length together.

    The order is that of transformers' `group_by_length`, drawn from the seed and the epoch and not
    from the global random state, so that a stopped run goes on in the same order.

    Args:
        rows: with a column input_ids.
        args: the trainer's config.
    """
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

    seed = args.seed if args.data_seed is None else args.data_seed

    class Sampler(LengthGroupedSampler):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[int]:
            source = torch.Generator().manual_seed(seed + self.epoch)
            return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=source))

    together = args.train_batch_size * args.gradient_accumulation_steps
    return Sampler(together, lengths=lengths_of(rows))


def lengths_of(rows: Dataset) -> list[int]:
    """Tokens of each row, counted in Arrow: no row is made a list of integers for it."""
    from pyarrow import compute

    found: list[int] = []
    for table in rows.select_columns("input_ids").with_format("arrow").iter(10_000):
        found += compute.list_value_length(table["input_ids"]).to_pylist()
    return found
