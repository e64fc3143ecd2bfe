"""Batches that come several times in a row, so that several steps learn from the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def repeated(rows: int, args: Any) -> Any:
    """A sampler of so many rows, shuffled each epoch, of which each batch comes again and again.

    The last batch is filled up with the epoch's first rows. The order is drawn from the seed and
    the epoch alone, so that a stopped run goes on in the same order.

    Args:
        args: the trainer's config, with `num_iterations`.
    """
    import torch
    from torch.utils.data import Sampler

    size = min(rows, args.train_batch_size)
    batches = -(-rows // size)
    seed = args.seed if args.data_seed is None else args.data_seed

    class Repeated(Sampler[int]):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __len__(self) -> int:
            return batches * size * int(args.num_iterations)

        def __iter__(self) -> Iterator[int]:
            source = torch.Generator().manual_seed(seed + self.epoch)
            order = torch.randperm(rows, generator=source).tolist()
            for start in range(0, rows, size):
                batch = (order[start : start + size] + order)[:size]
                for _ in range(args.num_iterations):
                    yield from batch

    return Repeated()
