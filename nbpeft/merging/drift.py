"""How far a merged model answers from the adapter: measured where the adapter itself would go.

The adapter answers a few prompts greedily on the base that it was trained on; along these answers
its next-token distributions p are compared with the merged model's q: the mean of KL(p, q), and the
share of positions where the likeliest token differs. Rounding alone gives about 1e-8 in fp32.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nbpeft.architectures import Architecture, architecture_of, window_of
from nbpeft.data import Rendering, default_rendering
from nbpeft.errors import DataError
from nbpeft.session.record import Record

TEXTS = 8
"""Texts at most."""
LONGEST, NEW = 256, 32
"""Tokens of a prompt, its end being kept, and of an answer."""
SOME = 32
"""Tokens of a text where nothing writes one."""


@dataclass(frozen=True)
class Probe:
    """One text to read."""

    inputs: dict[str, list[int]]
    """What the model takes, one row."""
    start: int
    """The first position that is compared."""


def starts(root: Any, record: Record, tokenizer: Any) -> tuple[list[list[int]], str]:
    """(token ids of prompts, what they are): those that the record kept, else random tokens."""
    architecture = architecture_of(root)
    kept = list(record.data.get("prompts", ()))[:TEXTS]
    if kept and tokenizer is not None:
        try:
            how = _rendering(record, tokenizer, architecture)
            prompts = [how.prompt_ids(tokenizer, prompt) for prompt in kept]
            return [p for p in prompts if p], f"answers to {len(kept)} prompts of its data"
        except DataError:  # another tokenizer than it was trained with
            pass
    generator = torch.Generator().manual_seed(0)
    length = SOME if architecture == "encoder" else 1
    ids = torch.randint(
        0, root.config.get_text_config().vocab_size, (TEXTS, length), generator=generator
    )
    return ids.tolist(), f"{TEXTS} texts begun at random tokens"


def _rendering(record: Record, tokenizer: Any, architecture: Architecture) -> Rendering:
    if "rendering" in record.data:
        return Rendering.from_dict(record.data["rendering"])
    return default_rendering(tokenizer, apart=architecture == "encoder-decoder")


def probes(model: Any, root: Any, prompts: Sequence[list[int]]) -> list[Probe]:
    """The prompts with the answers of `model` (in eval mode), which answers as the adapter."""
    architecture = architecture_of(root)
    if architecture == "encoder":
        return [Probe({"input_ids": prompt}, 0) for prompt in prompts]
    most = max(1, min(LONGEST, (window_of(root) or LONGEST + NEW) - NEW))
    found = []
    # Those of one length together: no padding, which some models read.
    for _, alike in itertools.groupby((prompt[-most:] for prompt in prompts), key=len):
        batch = list(alike)
        for prompt, answer in zip(batch, _answers(model, root, batch), strict=True):
            # The last token is predicted, and nothing is predicted from it.
            if architecture == "decoder":
                found.append(Probe({"input_ids": prompt + answer[:-1]}, len(prompt) - 1))
            else:
                inside = [root.generation_config.decoder_start_token_id, *answer[:-1]]
                found.append(Probe({"input_ids": prompt, "decoder_input_ids": inside}, 0))
    return found


def _answers(model: Any, root: Any, prompts: list[list[int]]) -> list[list[int]]:
    """The likeliest tokens, up to and with the first that ends an answer."""
    ids = torch.tensor(prompts, device=next(root.parameters()).device)
    given = root.generation_config.eos_token_id
    ends = given if isinstance(given, list) else [given]
    with torch.no_grad():
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=ends[0] or 0,
        )
    first = 1 if root.config.is_encoder_decoder else ids.shape[1]
    rows = output[:, first:].tolist()
    lengths = [next((i + 1 for i, t in enumerate(row) if t in ends), len(row)) for row in rows]
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def log_probabilities(model: Any, root: Any, texts: Sequence[Probe]) -> list[torch.Tensor] | None:
    """(positions, vocabulary) of each text, fp32 on the host; None where no tokens are predicted.

    `model` is in eval mode.
    """
    device, found = next(root.parameters()).device, []
    for text in texts:
        inputs = {name: torch.tensor([ids], device=device) for name, ids in text.inputs.items()}
        with torch.no_grad():
            output = model(**inputs)
        if "logits" not in output:
            return None
        found.append(output["logits"][0, text.start :].float().log_softmax(-1).cpu())
    return found


@dataclass(frozen=True)
class Distance:
    """From one model's next tokens to another's."""

    kl: float
    """Mean divergence, nats a token."""
    changed: float
    """Share of positions whose likeliest token is another."""
    positions: int


def distance(ones: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> Distance:
    """KL(one, other) and more, from the log-probabilities of both: (positions, vocabulary) each."""
    divergence, changed, positions = 0.0, 0, 0
    for one, other in zip(ones, others, strict=True):
        p, q = one.double(), other.double()
        divergence += float(torch.where(p.exp() > 0, p.exp() * (p - q), 0).sum())
        changed += int((p.argmax(-1) != q.argmax(-1)).sum())
        positions += len(p)
    return Distance(max(0.0, divergence / positions), changed / positions, positions)
