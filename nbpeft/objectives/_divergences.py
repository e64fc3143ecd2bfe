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
        label = torch.log_softmax(logits, -1).gather(-1, labels.unsqueeze(-1))
        logs = torch.log_softmax(logits / temperature, -1)
        if top_k is None or top_k >= vocabulary:
            return torch.cat([logs, label], -1)
        top, ids = logs.topk(top_k, -1)
        return torch.cat([top, _rest(logs, ids), ids.float(), label], -1)

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

        vocabulary = logs.shape[-1] if ids is None else logits.shape[-1]
        own = torch.log_softmax(logits[:, :vocabulary] / temperature, -1)
        if ids is not None:
            own = torch.cat([own.gather(-1, ids), _rest(own, ids)], -1)
        far = _between(kind, logs.clamp(min=LEAST), own.clamp(min=LEAST), beta)
        hard_loss = -torch.log_softmax(logits, -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        loss = (1 - hard) * temperature**2 * far
        loss = loss + hard * hard_loss if hard else loss
        return torch.stack([loss, far.detach(), hard_loss.detach()], -1)

    return reduction


def _rest(logs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """(n, 1) the logarithm of what all others come to: summed, not what is left of 1."""
    return logs.scatter(-1, ids, LEAST).logsumexp(-1, keepdim=True)


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
