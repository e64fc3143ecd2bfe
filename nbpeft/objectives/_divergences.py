"""How far a student's next-token distribution is from a teacher's, and what is kept of the latter.

Of a distribution the likeliest tokens are kept and the mass of all others together: k + 1 parts in
place of the vocabulary's. A divergence between such parts is never above that between the whole
distributions (they are put together in both), and as near as the rest's mass is small.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from nbpeft.seam.head import Reduction

LEAST = -1e4
"""A logarithm whose exponential is 0, and whose products are numbers."""


def summary(top_k: int | None, temperature: float, vocabulary: int) -> Reduction:
    """What is kept of a teacher's distributions, as a reduction of its logits.

    Args:
        top_k: how many tokens; None for all.
        temperature: what logits are divided by.
        vocabulary: the tokens that teacher and student have in common; further logits (an output
            layer that was padded) are left out.

    Returns:
        (logits (n, V), labels (n,)) -> (n, 2 top_k + 2): the log-probabilities of the likeliest,
        falling; the logarithm of the others' mass; the ids of the likeliest, exact below 2^24; and
        the label's log-probability at temperature 1. With all: (n, vocabulary + 1), the
        log-probabilities in the order of ids, and the label's.
    """

    def reduction(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        import torch

        logits = logits[:, :vocabulary]
        label = logits.gather(-1, labels.unsqueeze(-1)) - logits.logsumexp(-1, keepdim=True)
        softened = logits if temperature == 1 else logits / temperature
        if top_k is None or top_k >= vocabulary:
            return torch.cat([torch.log_softmax(softened, -1), label], -1)
        ids = softened.topk(top_k, -1).indices
        return torch.cat([_parts(softened, ids)[0], ids.float(), label], -1)

    return reduction


def divergence(kind: str, *, beta: float, temperature: float, hard: float) -> Reduction:
    """A student's loss, as a reduction of its logits.

    Args:
        kind: 'kl', KL(teacher || student); 'reverse_kl', KL(student || teacher); or 'jsd', the
            generalized Jensen-Shannon divergence of Agarwal et al. 2023 (arXiv:2306.13649).
        beta: of jsd: the teacher's share of the mixture m = beta teacher + (1 - beta) student, and
            of the sum beta KL(teacher || m) + (1 - beta) KL(student || m). As in TRL, where that
            would come to nothing, 0 is KL(teacher || student) and 1 KL(student || teacher).
        temperature: what logits are divided by; the divergence counts temperature² as much, so that
            its gradient stays as large (Hinton et al. 2015, arXiv:1503.02531).
        hard: the share of the loss on the labels.

    Returns:
        (logits (n, V), labels (n,), logs (n, k + 1), ids (n, k)) -> (n, 3): the loss; the
        divergence itself and the loss on the labels at temperature 1, without gradients; all in
        nats. Without `ids`, `logs` are (n, V').
    """

    def reduction(
        logits: torch.Tensor,
        labels: torch.Tensor,
        logs: torch.Tensor,
        ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        import torch

        softened = logits if temperature == 1 else logits / temperature
        if ids is None:
            own = torch.log_softmax(softened[:, : logs.shape[-1]], -1)
            total = None
        else:
            own, total = _parts(softened, ids)
        far = _between(kind, logs.clamp(min=LEAST), own.clamp(min=LEAST), beta)
        with torch.set_grad_enabled(bool(hard) and torch.is_grad_enabled()):
            if total is None or temperature != 1:
                total = logits.logsumexp(-1, keepdim=True)
            hard_loss = (total - logits.gather(-1, labels.unsqueeze(-1))).squeeze(-1)
        loss = (1 - hard) * temperature**2 * far
        loss = loss + hard * hard_loss if hard else loss
        return torch.stack([loss, far.detach(), hard_loss.detach()], -1)

    return reduction


def _parts(logits: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """((n, k + 1) log-probabilities of some tokens and of all others, (n, 1) the log of their sum).

    What the others come to is summed, and not what is left of 1. No log-probability of any of them
    is made: over a vocabulary each pass counts.
    """
    import torch

    top = logits.gather(-1, ids)
    rest = logits.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    total = torch.logaddexp(top.logsumexp(-1, keepdim=True), rest)
    return torch.cat([top, rest], -1) - total, total


def _between(kind: str, teacher: torch.Tensor, student: torch.Tensor, beta: float) -> torch.Tensor:
    """(n,) of log-probabilities (n, parts)."""
    import torch

    if kind == "kl" or (kind == "jsd" and beta == 0):
        return _kl(teacher, student)
    if kind == "reverse_kl" or (kind == "jsd" and beta == 1):
        return _kl(student, teacher)
    mixed = torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
    return beta * _kl(teacher, mixed) + (1 - beta) * _kl(student, mixed)


def _kl(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one.exp() * (one - other)).sum(-1)
