"""How a model makes its logits, found out by what its config says and tried out on the model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import nn

from nbpeft.guard import Guard
from nbpeft.seam.head import Head, shaped

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
