"""Prompts through `generate`: what a model writes, and where it ends."""

from __future__ import annotations

from typing import Any

from nbpeft.architectures import architecture_of


def generate(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    sample: bool = False,
) -> list[tuple[str, int]]:
    """Answer prompts in one batch; call it in eval mode and without gradients.

    A decoder goes on from its prompt, so prompts are padded on the left and the answer is what
    comes after. An encoder-decoder reads the prompt in its encoder, padded on the right as in
    training, and gives back the answer alone, after the token that every answer starts with.

    Args:
        prompts: token ids, at least one each.
        sample: by the model's own generation_config; else the likeliest token.

    Returns:
        (text, new tokens up to and with the first end token) of each prompt.
    """
    import torch

    ends = end_ids(model, tokenizer)
    filler = next((i for i in (tokenizer.pad_token_id, *ends) if i is not None), 0)
    apart = architecture_of(model) == "encoder-decoder"
    side = "right" if apart else "left"
    device = next(model.parameters()).device
    ids = _padded(prompts, filler, side)
    mask = _padded([[1] * len(prompt) for prompt in prompts], 0, side)
    output = model.generate(
        input_ids=torch.tensor(ids, device=device),
        attention_mask=torch.tensor(mask, device=device),
        max_new_tokens=max_new_tokens,
        do_sample=sample,
        num_beams=1,
        use_cache=True,  # training switches it off in the config
        pad_token_id=filler,
        eos_token_id=ends or None,
    )
    new = output[:, 1 if apart else max(map(len, prompts)) :].tolist()
    lengths = [next((i + 1 for i, t in enumerate(row) if t in ends), len(row)) for row in new]
    texts: list[str] = tokenizer.batch_decode(
        [row[:length] for row, length in zip(new, lengths, strict=True)], skip_special_tokens=True
    )
    return [(text.strip(), length) for text, length in zip(texts, lengths, strict=True)]


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the model's own and the tokenizer's."""
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    return list(dict.fromkeys(i for i in (*own, tokenizer.eos_token_id) if i is not None))


def _padded(rows: list[list[int]], filler: int, side: str) -> list[list[int]]:
    longest = max(map(len, rows))
    fillers = [[filler] * (longest - len(row)) for row in rows]
    if side == "left":
        return [fill + row for fill, row in zip(fillers, rows, strict=True)]
    return [row + fill for fill, row in zip(fillers, rows, strict=True)]
