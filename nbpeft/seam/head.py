"""Log-probabilities of tokens from hidden states, without the logits of a whole batch.

Logits of a batch in fp32 are the largest tensor of a training step: 4 bytes for each token and word
of the vocabulary, held twice. Here they exist a chunk of rows at a time. Where the output layer is
frozen, a chunk's gradient is computed while its logits are there (as Liger's fused losses do, Hsu
et al. 2024, arXiv:2410.10989), so that what is kept for backward is of the hidden states' size.
Where it is trained, a chunk's logits are computed again in backward (Chen et al. 2016,
arXiv:1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from nbpeft.seam.casting import frozen, multiplied_by, plain

CHUNK = 256
"""Rows whose logits are there at once: enough for the products to run at full speed."""

Reduction = Callable[..., torch.Tensor]
"""(logits (rows, V) fp32, what goes with the rows …) -> a value a row (rows,), or several (rows, n)
of which the first alone has a gradient, and the others are figures beside it."""


def token_log_probs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    chunk: int = CHUNK,
) -> torch.Tensor:
    """Log-probabilities (n,) in fp32, in nats, of `targets` (n,) after `hidden` (n, d).

    The logits are `softcap · tanh(scale · (hidden weightᵀ + bias) / softcap)`, without tanh where
    `softcap` is None; `weight` is (V, d). Products are computed in the dtype of the weight, or of
    autocast; the softmax in fp32. Differentiable in all three, any number of times forward; a
    frozen weight costs no second computation of its logits.
    """
    dtype = _product_dtype(weight)
    trained = any(t is not None and t.requires_grad for t in (weight, bias))

    def logits_of(rows: torch.Tensor) -> torch.Tensor:
        logits = functional.linear(rows.to(dtype), weight.to(dtype)).float()
        return shaped(logits if bias is None else logits + bias.float(), softcap, scale)

    if not trained:
        weight = weight.to(dtype)  # once, not a chunk
    with torch.autocast(hidden.device.type, enabled=False):
        if trained or not (torch.is_grad_enabled() and hidden.requires_grad):
            return reduced(logits_of, log_prob, hidden, targets, chunk=chunk)
        result: torch.Tensor = _FrozenHead.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, targets, softcap, scale, chunk
        )
        return result


def reduced(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    reduction: Reduction,
    hidden: torch.Tensor,
    *aligned: torch.Tensor,
    chunk: int = CHUNK,
) -> torch.Tensor:
    """`reduction(logits_of(rows), *rows of aligned)` over chunks of rows, joined: (n, …).

    Logits are forgotten after each chunk and computed again in backward. `aligned` holds what goes
    with each row of `hidden`: targets, a teacher's logits or hidden states.
    """

    def one(rows: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return reduction(logits_of(rows), *others)

    parts = zip(hidden.split(chunk), *(other.split(chunk) for other in aligned), strict=True)
    if torch.is_grad_enabled():
        done = [checkpoint(one, *part, use_reentrant=False) for part in parts]
    else:
        done = [one(*part) for part in parts]
    return torch.cat(done)


def log_prob(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (n,) of `targets` (n,) under `logits` (n, V)."""
    return torch.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def shaped(logits: torch.Tensor, softcap: float | None, scale: float) -> torch.Tensor:
    """What an architecture does with the output layer's products."""
    if scale != 1.0:
        logits = logits * scale
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def _product_dtype(weight: torch.Tensor) -> torch.dtype:
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


class _FrozenHead(torch.autograd.Function):
    """Log-probabilities and their gradients in `hidden`, in one pass over chunks of rows."""

    @staticmethod
    def forward(  # noqa: PLR0917  autograd hands them over by position
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        softcap: float | None,
        scale: float,
        chunk: int,
    ) -> torch.Tensor:
        result = hidden.new_empty(len(hidden), dtype=torch.float32)
        gradient = torch.empty_like(hidden)
        # One set of buffers for all chunks: on a CPU new pages cost as much as a pass over them.
        size = (min(chunk, len(hidden)), len(weight))
        products = hidden.new_empty(size, dtype=weight.dtype)
        single = (
            products
            if weight.dtype == torch.float32
            else hidden.new_empty(size, dtype=torch.float32)
        )
        logs = torch.empty_like(single)
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            wanted = targets[rows].unsqueeze(-1)
            here = slice(len(wanted))  # the last chunk may be shorter
            torch.mm(hidden[rows].to(weight.dtype), weight.T, out=products[here])
            logits = single[here].copy_(products[here])
            if bias is not None:
                logits += bias
            logits = shaped(logits, softcap, scale)
            slope = None if softcap is None else 1 - (logits / softcap) ** 2
            away = torch.log_softmax(logits, -1, out=logs[here])
            own = away.gather(-1, wanted)
            result[rows] = own.squeeze(-1)
            # Probabilities less one-hot, in fp32, so that a sure token's isn't rounded away.
            away.exp_().scatter_(-1, wanted, torch.expm1(own))
            if slope is not None:
                away *= slope
            toward = products[here].copy_(away) @ weight
            gradient[rows] = toward.to(hidden.dtype) * -scale
        ctx.save_for_backward(gradient)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        # In fp32: a scaled loss (fp16) goes over what half precision holds before it is averaged.
        mine = (upstream.unsqueeze(-1) * gradient).to(gradient.dtype)
        return mine, None, None, None, None, None, None


class _OnePass(torch.autograd.Function):
    """Values of rows' logits, and the gradients of their first in `hidden`, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        logits_of: Callable[[torch.Tensor], torch.Tensor],
        reduction: Reduction,
        chunk: int,
        *aligned: torch.Tensor,
    ) -> torch.Tensor:
        gradient = torch.empty_like(hidden)
        made = []
        for start in range(0, len(hidden), chunk):
            here = slice(start, start + chunk)
            rows = hidden[here].detach().requires_grad_()
            with torch.enable_grad():
                values = reduction(logits_of(rows), *(other[here] for other in aligned))
                # A row's value is of its own logits alone, so the sum's gradient is each row's.
                (gradient[here],) = torch.autograd.grad(_first(values).sum(), rows)
            made.append(values.detach())
        ctx.save_for_backward(gradient)
        return torch.cat(made)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        mine = (_first(upstream).unsqueeze(-1) * gradient).to(gradient.dtype)
        return (mine, None, None, None, *[None] * (len(ctx.needs_input_grad) - 4))


def _first(values: torch.Tensor) -> torch.Tensor:
    """(rows,) the value that has a gradient."""
    return values if values.ndim == 1 else values[:, 0]


@dataclass(frozen=True, eq=False)
class Head:
    """How a causal language model makes logits of the hidden states of its body."""

    body: nn.Module
    """`body(input_ids=…).last_hidden_state` is (rows, tokens, d)."""
    lm_head: nn.Module
    """(…, d) -> (…, V); what stands there now: the base's own layer, or an adapter's over it."""
    softcap: float | None = None
    scale: float = 1.0

    @property
    def frozen(self) -> bool:
        """Whether it is a plain linear layer that nothing trains."""
        return plain(self.lm_head) and frozen(self.lm_head)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, d) -> (…, V), through the model's own module."""
        return shaped(self.lm_head(hidden), self.softcap, self.scale)

    def log_probs(
        self, hidden: torch.Tensor, targets: torch.Tensor, *, chunk: int = CHUNK
    ) -> torch.Tensor:
        """Log-probabilities (n,) in fp32 of `targets` (n,) after hidden states (n, d)."""
        if not self.frozen:
            return self.reduce(log_prob, hidden, targets, chunk=chunk)
        layer: Any = self.lm_head
        return token_log_probs(
            hidden,
            multiplied_by(layer, hidden),
            targets,
            bias=layer.bias,
            softcap=self.softcap,
            scale=self.scale,
            chunk=chunk,
        )

    def reduce(
        self,
        reduction: Reduction,
        hidden: torch.Tensor,
        *aligned: torch.Tensor,
        chunk: int = CHUNK,
    ) -> torch.Tensor:
        """Any other value of each row's logits (a divergence from a teacher's); see `reduced`.

        Where the output layer is frozen, a chunk's gradient is computed while its logits are there.
        """

        def logits_of(rows: torch.Tensor) -> torch.Tensor:
            return self.logits(rows).float()

        if self.frozen and torch.is_grad_enabled() and hidden.requires_grad:
            made: torch.Tensor = _OnePass.apply(  # type: ignore[no-untyped-call]
                hidden, logits_of, reduction, chunk, *aligned
            )
            return made
        return reduced(logits_of, reduction, hidden, *aligned, chunk=chunk)
