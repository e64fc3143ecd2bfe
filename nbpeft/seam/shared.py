"""Attention of packed rows that all see one prefix, whose keys and values are there already.

All queries go against the prefix's keys as one product, each row against its own, and the two parts
are put together by the logarithms of their sums (Hydragen: Juravsky et al. 2024,
arXiv:2402.05099). No row has a copy of the prefix. Without gradients only: who teaches isn't
trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from nbpeft.errors import RunError

if TYPE_CHECKING:
    from nbpeft.seam.layouts import Asked

BLOCK = 512
"""Queries at a time, so that their scores on a long prefix stay small."""


def attention(  # noqa: PLR0917  six plain values
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    prefix: int,
    lengths: Sequence[int],
    asked: Asked,
) -> torch.Tensor:
    """Attention of each row to the prefix, to itself, and to nothing else.

    Args:
        query: (heads, tokens, width).
        key: (key heads, prefix + tokens, width); each is shared by heads / key heads queries.
        value: (key heads, prefix + tokens, width of values).
        prefix: tokens that all rows see, which stand before them.
        lengths: tokens of each row; together all tokens.

    Returns:
        (tokens, heads, width of values).

    Raises:
        RunError: a gradient is wanted, or a window or a sink takes part.
    """
    _refuse(query, prefix, lengths, asked)
    few = len(key)
    grouped = query.reshape(few, -1, *query.shape[1:]) * asked.scale
    before = _before(grouped, key[:, :prefix], value[:, :prefix], asked)
    own = _own(grouped, key[:, prefix:], value[:, prefix:], lengths, asked)
    made = _merged(before, own)
    return made.flatten(0, 1).transpose(0, 1)


Part = tuple[torch.Tensor, torch.Tensor]
"""(key heads, group, tokens, width of values) a part's answer, and (…, 1) the log of its sum."""


def _refuse(query: torch.Tensor, prefix: int, lengths: Sequence[int], asked: Asked) -> None:
    if torch.is_grad_enabled() and query.requires_grad:
        raise RunError("rows with a prefix that was read before have no gradient")
    if asked.window is not None and asked.window < prefix + max(lengths):
        raise RunError(f"the attention's window of {asked.window} tokens cuts into the prefix")
    if asked.sinks is not None:
        raise RunError("the model's attention has sinks")


def _before(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: Asked) -> Part:
    """What all queries find in the prefix."""
    few, group, _, width = query.shape
    parts = []
    for block in query.split(BLOCK, 2):
        scores = torch.bmm(block.reshape(few, -1, width), key.transpose(1, 2))
        parts.append(_part(scores.view(few, group, -1, key.shape[1]), value.unsqueeze(1), asked))
    answers, sums = zip(*parts, strict=True)
    return torch.cat(answers, 2), torch.cat(sums, 2)


def _own(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: Sequence[int],
    asked: Asked,
) -> Part:
    """What each row's queries find in the row, up to themselves."""
    sizes = list(lengths)
    rows = zip(query.split(sizes, 2), key.split(sizes, 1), value.split(sizes, 1), strict=True)
    longest = max(sizes)
    later = torch.ones(longest, longest, dtype=torch.bool, device=query.device).triu_(1)
    parts = []
    for q, k, v in rows:
        n = q.shape[2]
        scores = q @ k.transpose(1, 2).unsqueeze(1)
        parts.append(_part(scores, v.unsqueeze(1), asked, later[:n, :n]))
    answers, sums = zip(*parts, strict=True)
    return torch.cat(answers, 2), torch.cat(sums, 2)


def _part(
    scores: torch.Tensor, value: torch.Tensor, asked: Asked, later: torch.Tensor | None = None
) -> Part:
    """The softmax over a part's keys, and the log of the sum that it divides by."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if asked.softcap is not None:
        scores = torch.tanh(scores / asked.softcap) * asked.softcap
    if later is not None:
        scores = scores.masked_fill(later, -torch.inf)
    total = scores.logsumexp(-1, keepdim=True)
    return (scores - total).exp().to(value.dtype) @ value, total


def _merged(one: Part, other: Part) -> torch.Tensor:
    """One softmax over the keys of both."""
    share = torch.sigmoid(one[1] - other[1])
    made: torch.Tensor = (share * one[0] + (1 - share) * other[0]).to(one[0].dtype)
    return made
