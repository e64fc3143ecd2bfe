"""What answers are worth by their rewards, and the losses of RLOO and GRPO.

The same as TRL's over the same tokens, rewards and log-probabilities; a test holds it. The tokens
of all answers stand behind one another, without padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Scale = Literal["group", "batch", "none"]
Aggregate = Literal["grpo", "bnpo", "dr_grpo"]

SMALL = 1e-4
"""Added to a spread that is divided by, as TRL adds it."""


@dataclass(frozen=True)
class Answers:
    """Log-probabilities in nats of the tokens (n,) of a batch of answers, one after the other."""

    now: torch.Tensor
    """Under the policy; the loss is gone back through by these."""
    before: torch.Tensor
    """Under the policy that the answers were sampled from."""
    owners: torch.Tensor
    """Of each token, which answer it is of."""
    counts: torch.Tensor
    """(answers,) their numbers of tokens."""
    reference: torch.Tensor | None = None
    """Under the policy as it was at the run's start; None where nothing is compared with it."""

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """(answers,) values (n,) of tokens, added up over each answer."""
        return values.new_zeros(len(self.counts)).index_add(0, self.owners, values)

    def kl(self) -> torch.Tensor:
        """(answers,) how far from the reference: log-ratios added up, nats an answer."""
        assert self.reference is not None
        return self.sums(self.before - self.reference)


def rloo_advantages(rewards: torch.Tensor, *, normalize: bool = False) -> torch.Tensor:
    """Each reward less the mean of the others to its prompt (Ahmadian et al. 2024,
    arXiv:2402.14740).

    Args:
        rewards: (prompts, answers each).
        normalize: whether they are brought to mean 0 and spread 1 over the batch.

    Returns:
        (prompts x answers,).
    """
    others = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    advantages = (rewards - others).flatten()
    if normalize:
        advantages = (advantages - advantages.mean()) / (advantages.std() + SMALL)
    return advantages


def grpo_advantages(rewards: torch.Tensor, *, scale: Scale = "group") -> torch.Tensor:
    """Each reward less its prompt's mean, over the spread (Shao et al. 2024, arXiv:2402.03300).

    Args:
        rewards: (prompts, answers each).
        scale: the spread of each prompt's answers, of the whole batch, or 1
            (Liu et al. 2025, arXiv:2503.20783).
    """
    advantages = rewards - rewards.mean(1, keepdim=True)
    if scale == "group":
        advantages = advantages / (rewards.std(1, keepdim=True) + SMALL)
    elif scale == "batch":
        advantages = advantages / (rewards.std() + SMALL)
    return advantages.flatten()


def rloo_loss(
    answers: Answers, advantages: torch.Tensor, *, epsilon: float, epsilon_high: float | None = None
) -> torch.Tensor:
    """The mean over answers of a whole answer's ratio times its advantage, clipped."""
    ratio = answers.sums(answers.now - answers.before).exp()
    return _clipped(ratio, advantages, epsilon, epsilon_high).mean()


def grpo_loss(
    answers: Answers,
    advantages: torch.Tensor,
    *,
    epsilon: float,
    epsilon_high: float | None = None,
    beta: float = 0.0,
    aggregate: Aggregate = "bnpo",
    longest: int = 0,
) -> torch.Tensor:
    """Each token's ratio times its answer's advantage, clipped, plus beta x KL to the reference.

    The KL is estimated without a sign (k3, Schulman 2020, joschu.net/blog/kl-approx.html).

    Args:
        aggregate: 'bnpo' the mean over all tokens (DAPO, arXiv:2503.14476, where a step is one
            batch); 'grpo' over each answer's, then over answers; 'dr_grpo' the sum over answers x
            `longest`, the most tokens that an answer may have.
    """
    ratio = (answers.now - answers.before).exp()
    losses = _clipped(ratio, advantages[answers.owners], epsilon, epsilon_high)
    if beta:
        assert answers.reference is not None
        off = answers.reference - answers.now
        losses = losses + beta * (off.exp() - off - 1)
    if aggregate == "grpo":
        return (answers.sums(losses) / answers.counts.clamp(min=1)).mean()
    if aggregate == "dr_grpo":
        return losses.sum() / (len(answers.counts) * longest)
    return losses.sum() / answers.counts.sum().clamp(min=1)


def _clipped(
    ratio: torch.Tensor, advantages: torch.Tensor, epsilon: float, epsilon_high: float | None
) -> torch.Tensor:
    """The surrogate of PPO (Schulman et al. 2017, arXiv:1707.06347)."""
    high = epsilon if epsilon_high is None else epsilon_high
    return -(ratio * advantages).minimum(ratio.clamp(1 - epsilon, 1 + high) * advantages)
