"""Causal attention within rows on a CPU, forward and backward as a few matrix products a row.

In bf16 torch's blocked kernel is slow on a CPU: written out as batched products over the heads,
rows of 60 tokens took a quarter of its time, and rows of 2,000 four fifths (in fp32 it is the other
way round: there torch's kernel is taken). Queries are taken in blocks, each against the keys up to
its end, so that of a long row the half that nobody sees is mostly left out and no matrix of the
row's length squared is held. All rows are one autograd function: one entry in the graph a layer.
The weights of the softmax are kept for the backward pass where they are small, and computed again
where they are not (as FlashAttention does, arXiv:2205.14135).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

BLOCK = 512
"""Queries at a time."""
KEPT = 128
"""Weights over so many keys take no more memory than the queries, keys and values themselves."""


class Block(NamedTuple):
    """Queries from `start` to `end` see keys from `first` to `last`: both end with one token."""

    first: int
    last: int
    start: int
    end: int


def attention(  # noqa: PLR0917  six plain values
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: Sequence[int],
    scale: float,
    window: int | None = None,
    key_lengths: Sequence[int] | None = None,
) -> torch.Tensor:
    """Attention of each row to itself and to what comes before it in the row.

    Args:
        query: (heads, tokens, width).
        key: (key heads, tokens, width); each is shared by heads / key heads queries.
        value: (key heads, tokens, width of values).
        lengths: tokens of each row; together all tokens.
        window: how many tokens back a token sees, itself counted; None for all of its row.
        key_lengths: keys of each row, where they are more than its tokens: those before them.

    Returns:
        (tokens, heads, width of values), contiguous.
    """
    spans = tuple(zip(lengths, key_lengths or lengths, strict=True))
    made: torch.Tensor = _Rows.apply(query, key, value, spans, scale, window)
    return made


def blocks(spans: Sequence[tuple[int, int]], window: int | None) -> Iterator[Block]:
    """The rows, each of so many queries and so many keys, cut into blocks of queries."""
    begin = keys = 0
    for length, seen in spans:
        ahead = keys + seen - begin - length
        for start in range(begin, begin + length, BLOCK):
            first = keys if window is None else max(keys, start + ahead - window + 1)
            end = min(start + BLOCK, begin + length)
            yield Block(first, end + ahead, start, end)
        begin, keys = begin + length, keys + seen


class _Rows(torch.autograd.Function):
    """See `attention`."""

    @staticmethod
    def forward(  # noqa: PLR0917  autograd hands them over by position
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        spans: tuple[tuple[int, int], ...],
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        heads, tokens, _ = query.shape
        # Scaled once, here, and not every matrix of scores.
        q, k, v = _shared(query * scale, len(key)), key.contiguous(), value.contiguous()
        out = query.new_empty(tokens, *q.shape[:2], value.shape[-1])
        masks, kept = _Masks(q, spans, window), []
        for block in blocks(spans, window):
            weights = _weights(q, k, block, masks)
            answer = torch.bmm(weights, v[:, block.first : block.last])
            out[block.start : block.end] = _apart(answer, q.shape[1]).permute(2, 0, 1, 3)
            if block.last - block.first <= KEPT:
                kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.spans, ctx.scale, ctx.window = spans, scale, window
        return out.view(tokens, heads, value.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        q, k, v, *kept = ctx.saved_tensors
        few, group, tokens, _ = q.shape
        grad = _shared(grad.transpose(0, 1), few)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        masks, waiting = _Masks(q, ctx.spans, ctx.window), iter(kept)
        for block in blocks(ctx.spans, ctx.window):
            small = block.last - block.first <= KEPT
            weights = next(waiting) if small else _weights(q, k, block, masks)
            seen = slice(block.first, block.last)
            asked = slice(block.start, block.end)
            given = grad[:, :, asked].flatten(1, 2)
            dv[:, seen] += torch.bmm(weights.transpose(1, 2), given)
            slope = torch.bmm(given, v[:, seen].transpose(1, 2))
            # Torch's own kernel for it, which no public function is.
            slope = torch._softmax_backward_data(slope, weights, -1, weights.dtype)
            dq[:, :, asked] = _apart(torch.bmm(slope, k[:, seen]), group)
            dk[:, seen] += torch.bmm(slope.transpose(1, 2), q[:, :, asked].flatten(1, 2))
        return dq.mul_(ctx.scale).view(few * group, tokens, -1), dk, dv, None, None, None


def _shared(many: torch.Tensor, few: int) -> torch.Tensor:
    """(heads, tokens, width) -> (key heads, those that share one, tokens, width), contiguous."""
    return many.reshape(few, -1, *many.shape[1:]).contiguous()


def _apart(joined: torch.Tensor, group: int) -> torch.Tensor:
    """(key heads, group x tokens, width) -> (key heads, group, tokens, width)."""
    return joined.view(len(joined), group, -1, joined.shape[-1])


def _weights(query: torch.Tensor, key: torch.Tensor, block: Block, masks: _Masks) -> torch.Tensor:
    """The softmax of a block: (key heads, group x queries, keys)."""
    asked = query[:, :, block.start : block.end]
    scores = torch.bmm(asked.flatten(1, 2), key[:, block.first : block.last].transpose(1, 2))
    masks.add_to(_apart(scores, query.shape[1]), block)
    return torch.softmax(scores, -1)


class _Masks:
    """Minus infinity where a query doesn't see a key, for all blocks of one call."""

    def __init__(
        self, like: torch.Tensor, spans: Sequence[tuple[int, int]], window: int | None
    ) -> None:
        self._window = window
        self._like = like
        longest = min(BLOCK, max(length for length, _ in spans))
        # Of a block's own keys; those of earlier blocks are all seen.
        self._later = like.new_full((longest, longest), -torch.inf).triu_(1)

    def add_to(self, scores: torch.Tensor, block: Block) -> None:
        """To scores (…, queries, keys), in place; the last query and the last key are one token."""
        queries, keys = scores.shape[-2:]
        scores[..., keys - queries :].add_(self._later[:queries, :queries])
        if self._window is not None and self._window < keys:
            whole = self._like.new_full((queries, keys), -torch.inf)
            scores.add_(whole.tril_(keys - queries - self._window))
