"""Which rows are held out: the same ones every time, so that losses of runs compare."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nbpeft.errors import DataError, quoted

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


def split_rows(rows: int, held_out: int) -> tuple[Sequence[int], Sequence[int]]:
    """Row numbers to train on and to hold out, each in rising order."""
    if not held_out:
        return range(rows), range(0)
    chosen = some_of(rows, held_out)
    kept_out = set(chosen)
    return [number for number in range(rows) if number not in kept_out], chosen


def some_of(rows: int, count: int) -> list[int]:
    """`count` of the row numbers below `rows`, the same every time, in rising order."""
    return sorted(random.Random(SEED).sample(range(rows), count))
