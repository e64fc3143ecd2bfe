"""Attention over rows that stand behind one another in one sequence, each by itself.

Registered with transformers' AttentionInterface, so every model that takes one of those has it
(huggingface.co/docs/transformers/attention_interface). Nothing is registered for masks: none is
built then, and what a token may see follows from the rows' lengths alone. A model that builds masks
of its own, or whose attention looks both ways, is refused here; one that never asks the interface
isn't seen here at all, and `nbpeft.seam.probe` finds it out.

On CUDA it is `torch.nn.attention.varlen` (FlashAttention's kernel for rows of any length), on a CPU
in bf16 `nbpeft.seam.rows`, and elsewhere torch's own, row by row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RunError
from nbpeft.seam.layouts import Asked, Keys, Layout

if TYPE_CHECKING:
    import torch
    from torch import nn

IMPLEMENTATION = "_attn_implementation_internal"
"""Where a config keeps which one it is."""
NAME = "nbpeft_rows"
"""The implementation's name in a config."""


_now: list[Layout] = []
"""The layout of the forward that runs, last. A plain variable and not a context's: with gradient
checkpointing forwards are run again by autograd, on CUDA in a thread of its own."""


class Attention:
    """Switches a model between its own attention and this one; made once a run."""

    def __init__(self, root: nn.Module) -> None:
        self._configs = configs_with_attention(root)

    @contextlib.contextmanager
    def over(
        self,
        lengths: Sequence[int],
        starts: torch.Tensor,
        keys: tuple[Sequence[int], torch.Tensor, torch.Tensor] | None = None,
        prefix: int = 0,
    ) -> Iterator[None]:
        """Inside, forwards and backwards are of one sequence with rows of these lengths.

        Args:
            starts: (rows) where they begin.
            keys: where rows see tokens of others before their own: how many each sees, where these
                stand, and where the first of each row is among them.
            prefix: tokens of a cache (`nbpeft.seam.prefix`) that all rows see beside.
        """
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, attend)
        seen_by = None
        if keys is not None:
            of_keys, places, firsts = keys
            seen_by = Keys(tuple(of_keys), places, _ends(firsts, sum(of_keys)))
        _now.append(Layout(tuple(lengths), _ends(starts, sum(lengths)), seen_by, prefix))
        try:
            with implemented_by(NAME, self._configs):
                yield
        finally:
            _now.pop()


def configs_with_attention(root: nn.Module) -> list[Any]:
    """The configs of a model that say how attention is computed."""
    from nbpeft.guard import configs_of

    return [c for c in configs_of(root.modules()) if IMPLEMENTATION in vars(c)]


@contextlib.contextmanager
def implemented_by(name: str, configs: Sequence[Any]) -> Iterator[None]:
    """Inside, attention is computed by that implementation."""
    before = [vars(config)[IMPLEMENTATION] for config in configs]
    try:
        for config in configs:
            vars(config)[IMPLEMENTATION] = name
        yield
    finally:
        for config, own in zip(configs, before, strict=True):
            vars(config)[IMPLEMENTATION] = own


def _ends(starts: torch.Tensor, total: int) -> torch.Tensor | None:
    """Made on the device from what is there already: a list of integers would have to wait."""
    import torch

    if not starts.is_cuda:
        return None
    return torch.cat([starts, starts.new_full((1,), total)]).int()


def attend(  # noqa: PLR0917  as transformers calls it
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it, causal within each row.

    Args:
        query: (1, heads, tokens, width); `key` and `value` may have fewer heads, each shared.
        sliding_window: how many tokens back a token sees, itself counted.
        softcap: scores are bent to stay below it (Gemma 2).
        s_aux: (heads), a score that takes part in the softmax and has no value (GPT-OSS).

    Returns:
        (1, tokens, heads, width of the values), and no weights.

    Raises:
        RunError: what is asked for isn't causal attention within rows.
    """
    layout = _now[-1]
    causal = vars(module).get("is_causal", True) if is_causal is None else is_causal
    _refuse(query, attention_mask, layout, causal, others)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    asked = Asked(scale, sliding_window, softcap, s_aux, dropout)
    with _without_autocast(query) as dtype:
        q, k, v = (t.to(dtype or value.dtype) for t in (query, key, value))
        if layout.keys is not None:
            k, v = (t.index_select(2, layout.keys.places) for t in (k, v))
        if layout.prefix:
            from nbpeft.seam.shared import attention as shared

            out = shared(q[0], k[0], v[0], layout.prefix, layout.lengths, asked).unsqueeze(0)
        elif softcap is not None or s_aux is not None:
            out = _written_out(q, k, v, layout, asked)
        elif _has_varlen(q, v, dropout):
            out = _varlen(q, k, v, layout, asked)
        elif q.device.type == "cpu" and str(q.dtype) == "torch.bfloat16" and not dropout:
            from nbpeft.seam.rows import attention

            own, seen_by = layout.lengths, layout.key_lengths
            out = attention(q[0], k[0], v[0], own, scale, sliding_window, seen_by).unsqueeze(0)
        else:
            out = _sdpa(q, k, v, layout, asked)
    return out, None


def _refuse(
    query: torch.Tensor, mask: Any, layout: Layout, causal: bool, others: dict[str, Any]
) -> None:
    tokens = sum(layout.lengths)
    if query.shape[0] != 1 or query.shape[2] != tokens:
        raise RunError(f"attention over {tokens} packed tokens was given {tuple(query.shape)}")
    for name, value in (("a mask", mask), ("a bias", others.get("position_bias"))):
        if value is not None:
            raise RunError(f"the model's attention has {name} of its own")
    if not causal:
        raise RunError("the model's attention isn't causal")


@contextlib.contextmanager
def _without_autocast(query: torch.Tensor) -> Iterator[torch.dtype | None]:
    """Autocast is applied here, once; gives its dtype, None where it is off."""
    import torch

    kind = query.device.type
    on = torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if on else None
    with torch.autocast(kind, enabled=False) if on else contextlib.nullcontext():
        yield dtype


def _has_varlen(query: torch.Tensor, value: torch.Tensor, dropout: float) -> bool:
    """FlashAttention's kernel: half precision, Ampere or newer, one width of up to 256."""
    import torch

    if not query.is_cuda or dropout or query.dtype not in (torch.bfloat16, torch.float16):
        return False
    if not query.shape[-1] == value.shape[-1] <= 256 or query.shape[-1] % 8:
        return False
    if torch.cuda.get_device_capability(query.device) < (8, 0):
        return False
    return "varlen_attn" in _varlen_module()


def _varlen_module() -> dict[str, Any]:
    """What torch's module of it holds; nothing before torch 2.10."""
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return {}
    return vars(varlen)


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, asked: Asked
) -> torch.Tensor:
    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))
    longest, most = max(layout.lengths), max(layout.key_lengths)
    # The kernel counts the tokens before a token, without itself.
    left = -1 if asked.window is None else asked.window - 1
    out = _varlen_module()["varlen_attn"](
        q, k, v, layout.ends, layout.key_ends, longest, most,
        scale=asked.scale, window_size=(left, 0), enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip
    made: torch.Tensor = out.unsqueeze(0)
    return made


def _sdpa(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, asked: Asked
) -> torch.Tensor:
    """By torch's own attention, row by row."""
    import torch

    made = []
    for q, k, v in _rows(query, key, value, layout):
        asking, keys = q.shape[2], k.shape[2]
        limited = asking < keys or (asked.window is not None and asked.window < keys)
        made.append(
            torch.nn.functional.scaled_dot_product_attention(
                q, k, v,
                attn_mask=seen(asking, keys, asked.window, q.device) if limited else None,
                dropout_p=asked.dropout, is_causal=not limited, scale=asked.scale,
                enable_gqa=q.shape[1] != k.shape[1],
            )
        )  # fmt: skip
    return torch.cat(made, 2).transpose(1, 2)


def _written_out(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, asked: Asked
) -> torch.Tensor:
    """Row by row, as the architectures' own (eager) attention has it."""
    import torch

    made = []
    for q, k, v in _rows(query, key, value, layout):
        keys, values = (t.repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
        scores = q @ keys.transpose(2, 3) * asked.scale
        if asked.softcap is not None:
            scores = torch.tanh(scores / asked.softcap) * asked.softcap
        mask = seen(q.shape[2], k.shape[2], asked.window, q.device)
        scores = scores.masked_fill(~mask, -torch.inf)
        if asked.sinks is not None:
            sink = asked.sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
            scores = torch.cat([scores, sink], -1)
        fine = torch.promote_types(q.dtype, torch.float32)
        weights = torch.softmax(scores, -1, dtype=fine).to(q.dtype)[..., : k.shape[2]]
        made.append(torch.nn.functional.dropout(weights, asked.dropout) @ values)
    return torch.cat(made, 2).transpose(1, 2)


def _rows(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout
) -> Iterator[tuple[torch.Tensor, ...]]:
    own, seen_by = list(layout.lengths), list(layout.key_lengths)
    parts = (query.split(own, 2), key.split(seen_by, 2), value.split(seen_by, 2))
    return zip(*parts, strict=True)


def seen(asking: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """(asking, keys): whether the token of a line sees the one of a column; the last are one."""
    import torch

    ahead = keys - asking
    whole = torch.ones(asking, keys, dtype=torch.bool, device=device).tril(ahead)
    return whole if window is None else whole.triu(ahead + 1 - window)
