"""Log-probabilities of tokens from hidden states, without the logits of a whole batch.

Logits of a batch in fp32 are the largest tensor of a training step: 4 bytes for each token and word
of the vocabulary, held twice. Here they exist a chunk of rows at a time. Where the output layer is
frozen, a chunk's gradient is computed while its logits are there (as Liger's fused losses do, Hsu
et al. 2024, arXiv:2410.10989), so that what is kept for backward is of the hidden states' size.
Where it is trained, a chunk's logits are computed again in backward (Chen et al. 2016,
arXiv:1604.06174).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from nbpeft.guard import Guard
from nbpeft.seam.casting import frozen, multiplied_by, plain

CHUNK = 256
"""Rows whose logits are there at once: enough for the products to run at full speed."""

Reduction = Callable[..., torch.Tensor]
"""(logits (rows, V) fp32, what goes with the rows …) -> a value a row."""


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
        """Any other value of each row's logits (a divergence from a teacher's); see `reduced`."""
        return reduced(
            lambda rows: self.logits(rows).float(), reduction, hidden, *aligned, chunk=chunk
        )


CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""Where configs keep a soft cap: Gemma 2 and later, NanoChat; RecurrentGemma."""
SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
"""Where they keep a factor on the logits: Cohere, Granite (which divides by it), Falcon-H1, …"""


def head_of(model: nn.Module) -> Head | None:
    """How a causal language model makes its logits; None where it isn't a linear layer's product.

    `model` is transformers' own or PEFT's around it, with whatever adapter is attached. What the
    config says is tried out on a few tokens: the body called by itself must give what the model
    hands to its output layer, and known products must become the same logits here and there. So an
    architecture with a step of its own in between is found out, whatever its name. Leaves nothing
    changed. Not under FakeTensorMode: there is nothing to compare.
    """
    root: Any = model
    if isinstance(model, PeftModel):
        if model.active_peft_config.is_prompt_learning:
            return None  # its forward puts a prompt before the tokens
        root = model.get_base_model()
    body, lm_head = root.base_model, root.get_output_embeddings()
    if body is root or lm_head is None:
        return None
    with Guard(root), torch.no_grad():
        root.eval()
        seen = _look(root, body, lm_head)
    return next(
        (head for head in _candidates(root, body, lm_head) if seen and seen.fits(head)), None
    )


@dataclass(frozen=True)
class _Look:
    """What a model was seen to do with a few tokens."""

    alone: torch.Tensor
    """What its body gives by itself, (1, tokens, d)."""
    handed: torch.Tensor
    """What the output layer is given, (1, tokens, d)."""
    products: torch.Tensor
    """What the output layer was made to answer, (1, tokens, V)."""
    logits: torch.Tensor
    """What the model made of that."""

    def fits(self, head: Head) -> bool:
        """Whether the head does the same, but for rounding."""
        made = shaped(self.products.float(), head.softcap, head.scale)
        return _close(self.alone, self.handed) and _close(made, self.logits)


def _look(root: Any, body: nn.Module, lm_head: nn.Module) -> _Look | None:
    """Run the model once with an output layer that answers with known products."""
    seen: dict[str, torch.Tensor] = {}

    def answer(_module: nn.Module, given: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        # From far below to far above any cap, so that each step leaves its mark.
        known = torch.linspace(-96, 96, output.shape[-1], device=output.device).to(output.dtype)
        seen["handed"], seen["products"] = given[0], known.expand_as(output)
        return seen["products"].clone()  # what follows may write into it

    ids = torch.arange(1, 9, device=next(root.parameters()).device).unsqueeze(0)
    hook = lm_head.register_forward_hook(answer)
    try:
        logits = root(input_ids=ids, use_cache=False).logits
    finally:
        hook.remove()
    if not seen:
        return None
    alone = body(input_ids=ids, use_cache=False).last_hidden_state
    return _Look(alone, logits=logits, **seen)


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return False
    # Coarser than the rounding of a few steps in the model's precision, finer than any constant.
    tolerance = 4 * max(torch.finfo(t.dtype).eps for t in (one, other))
    one, other = one.float(), other.float()
    return bool((one - other).abs().max() <= tolerance * other.abs().max())


def _candidates(root: Any, body: nn.Module, lm_head: nn.Module) -> Iterator[Head]:
    """Heads after what the config says, the most likely first."""
    config = root.config.get_text_config(decoder=True).to_dict()
    said = [config[name] for name in SCALES if config.get(name)]
    scales = dict.fromkeys([*said, *(1 / scale for scale in said), 1.0])
    caps = dict.fromkeys([*(config[name] for name in CAPS if config.get(name)), None])
    for softcap, scale in itertools.product(caps, scales):
        yield Head(body, lm_head, softcap, scale)
