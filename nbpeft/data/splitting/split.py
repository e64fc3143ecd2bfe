"""Which rows are held out: the same ones every time, so that losses of runs compare."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbpeft.errors import DataError, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEED = 20_240
"""Not the run's seed: adapters trained with different seeds share their held-out rows."""
SHARE = 0.1
MOST = 200
FEWEST = 10
"""With fewer rows than this none is held out by default."""


def held_out_count(rows: int, eval: float | int | None, label: str) -> int:
    """How many of `rows` rows to hold out.

    Args:
        eval: None for the default, a share in (0, 1), or a count; 0 for none.

    Raises:
        DataError: not such a number, or nothing would be left to train on.
    """
    if eval is None:
        return 0 if rows < FEWEST else min(MOST, max(1, round(rows * SHARE)))
    if isinstance(eval, bool) or eval < 0 or (isinstance(eval, float) and not eval < 1):
        raise DataError(
            f"eval: {quoted(eval)} is neither a share between 0 and 1 nor a count of rows; type "
            "--eval 0.1, --eval 100, or --eval 0 for none."
        )
    count = max(1, round(rows * eval)) if isinstance(eval, float) and eval else int(eval)
    if count >= rows:
        raise DataError(
            f"eval: holding out {count} of the {rows} rows of {quoted(label)} leaves none to train "
            "on; hold out fewer, or type --eval 0 for none."
        )
    return count


def quotas(sizes: Sequence[int], count: int) -> list[int]:
    """`count` held-out rows shared out over sources by their sizes (largest remainders)."""
    total = sum(sizes)
    exact = [count * size / total for size in sizes]
    shares = [int(part) for part in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: shares[i] - exact[i])
    for place in by_remainder[: count - sum(shares)]:
        shares[place] += 1
    return shares


def held_out_rows(keys: Sequence[NDArray[np.uint64]], wanted: Sequence[int]) -> NDArray[np.bool_]:
    """Which rows to hold out, over the rows of all sources one after another.

    Rows of one key stay together: the held-out loss would be untrue if a copy of a held-out row
    was trained on. So fewer are held out where copies leave no other choice.

    Args:
        keys: of the rows of each source; copies share theirs.
        wanted: how many rows of each source to hold out.
    """
    import numpy as np

    from nbpeft.data.splitting.copies import joined

    _, group, sizes = np.unique(joined(keys), return_inverse=True, return_counts=True)
    held = np.zeros(len(sizes), dtype=bool)
    start = 0
    for part, count in zip(keys, wanted, strict=True):
        own = group[start : start + len(part)]
        start += len(part)
        left = count
        for row in _in_order(len(part), count, bool((sizes > 1).any())):
            if not left:
                break
            if not held[own[row]] and sizes[own[row]] <= left:
                held[own[row]] = True
                left -= int(sizes[own[row]])
    return held[group]


def _in_order(rows: int, count: int, all_of_them: bool) -> list[int]:
    """The row numbers to hold out first, then, where they may not do, the others, mixed."""
    first = random.Random(SEED).sample(range(rows), count)
    if not all_of_them:
        return first
    others = sorted(set(range(rows)).difference(first))
    random.Random(SEED).shuffle(others)
    return first + others


def some_of(rows: int, count: int) -> list[int]:
    """`count` of the row numbers below `rows`, the same every time, in rising order."""
    return sorted(random.Random(SEED).sample(range(rows), count))
