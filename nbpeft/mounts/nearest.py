"""Which real tokens the vectors of a soft prompt lie near.

Lester et al. 2021 (arXiv:2104.08691, section 7.2) look at nearest neighbours by cosine similarity;
what is near needn't be what the prompt means.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from nbpeft.mounts.prompts import PromptMount

ROWS = 16_384
"""Embeddings that are compared at once: a vocabulary in fp32 may be gigabytes."""


def nearest(
    root: nn.Module, mount: PromptMount, vocabulary: int, most: int = 3
) -> list[list[tuple[int, float]]] | None:
    """(token id, cosine similarity) of the nearest tokens to each virtual one, the best first.

    Put the mount in first. None where the prompt isn't of embeddings but of keys and values, which
    are in no token's space.

    Args:
        vocabulary: how many tokens there are; embeddings beyond it stand for none.
    """
    embeddings: torch.Tensor = root.get_input_embeddings().weight  # type: ignore[operator]
    prompt = mount.shell.get_prompt_embedding_to_save("default")
    if prompt.shape[-1] != embeddings.shape[-1]:
        return None
    wanted = functional.normalize(prompt.to(embeddings.device, torch.float32), dim=-1)
    found = torch.empty(len(wanted), 0, device=embeddings.device)
    ids = found.long()
    for start in range(0, min(vocabulary, len(embeddings)), ROWS):
        rows = embeddings[start : min(start + ROWS, vocabulary)].detach().float()
        new = wanted @ functional.normalize(rows, dim=-1).T
        numbers = torch.arange(start, start + len(rows), device=ids.device).expand_as(new)
        found, ids = torch.cat([found, new], 1), torch.cat([ids, numbers], 1)
        found, places = found.topk(min(most, found.shape[1]), dim=1)
        ids = ids.gather(1, places)
    return [
        list(zip(own, values, strict=True))
        for own, values in zip(ids.tolist(), found.tolist(), strict=True)
    ]
