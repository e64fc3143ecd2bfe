"""Whether what rows begin with alike may stand once, tried out on the model itself.

Two ways: within a batch, as a trunk with branches; and for all batches, as keys and values that
were read before. Scores must be those of the rows apart, but for rounding.
"""

from __future__ import annotations

from typing import Any

import torch

from nbpeft.guard import Guard
from nbpeft.seam.packing import NOT_TRAINED, Branched, Packed, Prefixed
from nbpeft.seam.prefix import prefix_of
from nbpeft.seam.probe import LENGTHS, Autocast, Choice, moved, narrow, trial_rows

SHARED = 3
"""Tokens that the rows which are tried begin with alike."""


def branches(choice: Choice, autocast: Autocast, longest: int | None) -> bool:
    """Whether rows of a packed run that begin alike may hold their beginning once.

    Tried out on a few rows, without gradients.
    """
    if choice.way != "packed" or choice.scorer is None:
        return False
    root: Any = choice.scorer.head.body
    with Guard(root), torch.no_grad(), autocast():
        root.eval()
        narrow(root, longest)
        trunk, *others = trial_rows(root, 0)
        start = trunk["input_ids"][:SHARED]
        rows = [_row(trunk["input_ids"], shared=0)]
        rows += [_row(start + other["input_ids"], shared=SHARED) for other in others]
        found = [_scores(choice, layout(rows)) for layout in (Packed(), Branched())]
    return _alike(root, *found)


def prefixes(model: Any, choice: Choice, autocast: Autocast, longest: int | None) -> bool:
    """Whether rows of a packed run may go on from what all begin with, read before.

    Tried out on a few rows, without gradients.

    Args:
        model: what the choice was made for: transformers' own.
        longest: tokens of the longest row, what all begin with counted; None for no limit.
    """
    if choice.way != "packed" or choice.scorer is None:
        return False
    root: Any = choice.scorer.head.body
    with Guard(root), torch.no_grad(), autocast():
        root.eval()
        narrow(root, longest)
        trunk, *others = trial_rows(root, 0)
        start = trunk["input_ids"][:SHARED]
        prefix = prefix_of(model, start, SHARED + max(LENGTHS))
        if prefix is None:
            return False
        whole = [_row(start + other["input_ids"], skipped=SHARED + 1) for other in others]
        apart = [{name: row[name][SHARED:] for name in ("input_ids", "labels")} for row in whole]
        try:
            found = [
                _scores(choice, Packed()(whole)),
                _scores(choice, Prefixed(SHARED)(apart) | {"past_key_values": prefix.frozen()}),
            ]
        except Exception:  # noqa: BLE001  whatever a model's forward may raise
            return False
    return _alike(root, *found)


def _row(ids: list[int], *, shared: int = 0, skipped: int = SHARED) -> dict[str, Any]:
    labels = [NOT_TRAINED] * skipped + ids[skipped:]
    return {"input_ids": ids, "labels": labels, "shared": shared}


def _scores(choice: Choice, batch: dict[str, Any]) -> torch.Tensor:
    assert choice.scorer is not None
    root: Any = choice.scorer.head.body
    batch = moved(batch, root.get_input_embeddings().weight.device)
    with choice.scorer.over(batch):
        return choice.scorer.scores(batch)


def _alike(root: Any, one: torch.Tensor, other: torch.Tensor) -> bool:
    off = float((one - other).abs().max())
    coarse = any(p.element_size() < 4 for p in root.parameters())
    return off <= (0.25 if coarse else 1e-4)
