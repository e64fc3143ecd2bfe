"""Prompts through `generate`: what a model writes, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import architecture_of

if TYPE_CHECKING:
    import torch

    from nbpeft.seam.prefix import Prefix

WORTH_SHARING = 32
"""Tokens that prompts begin with alike, from which on reading them once is quicker."""


def generate(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    sample: bool = False,
    groups: int = 1,
) -> list[tuple[str, int]]:
    """Answer prompts in one batch; call it in eval mode and without gradients.

    A decoder goes on from its prompt, so prompts are padded on the left and the answer is what
    comes after. An encoder-decoder reads the prompt in its encoder, padded on the right as in
    training, and gives back the answer alone, after the token that every answer starts with.
    What all prompts begin with (a system prompt, examples) is read once, where that is exact.

    Args:
        prompts: token ids, at least one each.
        sample: by the model's own generation_config; else the likeliest token.
        groups: the model answers each of so many equal parts of a batch's rows as another.

    Returns:
        (text, new tokens up to and with the first end token) of each prompt.
    """
    rows = new_tokens(
        model, tokenizer, prompts, max_new_tokens=max_new_tokens, groups=groups, do_sample=sample
    )
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [(text.strip(), len(row)) for text, row in zip(texts, rows, strict=True)]


def new_tokens(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    groups: int = 1,
    prefix: Prefix | None = None,
    **sampling: Any,
) -> list[list[int]]:
    """The tokens of the answers of `generate`, up to and with the first end token of each.

    Args:
        prefix: what was read before; used where all prompts begin with it.
        sampling: fields of generation_config that decide how a token is chosen.
    """
    import torch

    ends = end_ids(model, tokenizer)
    filler = next((i for i in (tokenizer.pad_token_id, *ends) if i is not None), 0)
    apart = architecture_of(model) == "encoder-decoder"
    side = "right" if apart else "left"
    device = next(model.parameters()).device
    if prefix is not None and all(map(prefix.begins, prompts)):
        start, cache = list(prefix.ids), prefix.copies(len(prompts))
    else:
        start = shared_start(prompts)
        most = max(map(len, prompts)) + max_new_tokens
        worth = len(start) >= WORTH_SHARING
        cache = _read_once(model, start, groups, len(prompts), most) if worth else None
    shared = len(start) if cache is not None else 0
    own = [prompt[shared:] for prompt in prompts]
    ids = _padded(own, filler, side)
    mask = _padded([[1] * len(prompt) for prompt in own], 0, side)
    output = model.generate(
        input_ids=torch.tensor([start[:shared] + row for row in ids], device=device),
        attention_mask=torch.tensor([[1] * shared + row for row in mask], device=device),
        past_key_values=cache,
        max_new_tokens=max_new_tokens,
        num_beams=1,
        use_cache=True,  # training switches it off in the config
        pad_token_id=filler,
        eos_token_id=ends or None,
        **sampling,
    )
    new = output[:, 1 if apart else max(map(len, prompts)) :].tolist()
    lengths = [next((i + 1 for i, t in enumerate(row) if t in ends), len(row)) for row in new]
    return [row[:length] for row, length in zip(new, lengths, strict=True)]


READ_AT_ONCE = 16
"""Prompts that are read in one batch."""


def next_logits(model: Any, tokenizer: Any, prompts: Sequence[list[int]]) -> torch.Tensor:
    """What a decoder makes of the token after each prompt: logits (prompts, V), on the host.

    Call it in eval mode and without gradients.
    """
    import torch

    filler = next((i for i in (tokenizer.pad_token_id, *end_ids(model, tokenizer)) if i), 0)
    device = next(model.parameters()).device
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    found: list[Any] = [None] * len(prompts)
    for start in range(0, len(order), READ_AT_ONCE):
        part = order[start : start + READ_AT_ONCE]
        own = [list(prompts[i]) for i in part]
        mask = torch.tensor(_padded([[1] * len(row) for row in own], 0, "left"), device=device)
        output = model.generate(
            input_ids=torch.tensor(_padded(own, filler, "left"), device=device),
            attention_mask=mask,
            max_new_tokens=1,
            do_sample=False,
            num_beams=1,
            pad_token_id=filler,
            output_logits=True,
            return_dict_in_generate=True,
        )
        for i, row in zip(part, output.logits[0].float().cpu(), strict=True):
            found[i] = row
    return torch.stack(found)


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the model's own and the tokenizer's."""
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    return list(dict.fromkeys(i for i in (*own, tokenizer.eos_token_id) if i is not None))


def shared_start(prompts: list[list[int]]) -> list[int]:
    """What all of several prompts begin with; at least one token of each is left."""
    if len(prompts) < 2:
        return []
    most = min(map(len, prompts)) - 1
    first = prompts[0]
    alike = (i for i in range(most) if any(prompt[i] != first[i] for prompt in prompts))
    return first[: next(alike, most)]


def _read_once(model: Any, start: list[int], groups: int, rows: int, most: int) -> Any:
    """The keys and values of `start` for each of a batch's rows; None where that isn't exact."""
    from nbpeft.seam.prefix import read

    cache = read(model, start, most, rows=groups)
    if cache is not None:
        cache.batch_repeat_interleave(rows // groups)
    return cache


def _padded(rows: list[list[int]], filler: int, side: str) -> list[list[int]]:
    longest = max(map(len, rows))
    fillers = [[filler] * (longest - len(row)) for row in rows]
    if side == "left":
        return [fill + row for fill, row in zip(fillers, rows, strict=True)]
    return [row + fill for fill, row in zip(fillers, rows, strict=True)]
