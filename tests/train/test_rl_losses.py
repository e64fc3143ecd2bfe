"""RLOO and GRPO against TRL's own trainers, over the same tokens, rewards and log-probabilities."""

from __future__ import annotations

import inspect
import types
from collections import defaultdict

import pytest
import torch
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

from nbpeft.objectives._rl_losses import (
    Answers,
    grpo_advantages,
    grpo_loss,
    rloo_advantages,
    rloo_loss,
)

COUNTS = torch.tensor([3, 1, 4, 2, 2, 5])
LONGEST = 5


def drawn(seed):
    source = torch.Generator().manual_seed(seed)
    return [-3 * torch.rand(int(n), generator=source) - 0.1 for n in COUNTS]


@pytest.fixture
def answers():
    """Six answers of unequal length, two prompts: now, before (elsewhere) and the reference's."""
    now = torch.cat(drawn(0)).requires_grad_()
    before = (
        now + 0.4 * torch.randn(now.shape, generator=torch.Generator().manual_seed(1))
    ).detach()
    owners = torch.repeat_interleave(torch.arange(len(COUNTS)), COUNTS)
    return Answers(now, before, owners, COUNTS, torch.cat(drawn(2)))


REWARDS = torch.tensor([[0.5, -1.0, 2.0], [1.0, 1.5, -0.25]])


def padded(values):
    rows = values.split(COUNTS.tolist())
    return torch.nn.utils.rnn.pad_sequence(list(rows), True)


class Accelerator:
    """As much of accelerate as the losses of TRL ask for on one device."""

    num_processes = 1
    sync_gradients = True

    def gather(self, values):
        return values

    def reduce(self, values, reduction):
        return values


def trl(kind, answers, advantages, **words):
    """The loss of TRL's trainer of that kind, made of nothing but what its loss reads."""
    mask = padded(torch.ones(len(answers.now)))
    now = padded(answers.now)
    trainer = types.SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (now, torch.zeros_like(now), None),
        accelerator=Accelerator(),
        model=types.SimpleNamespace(training=True),
        _metrics={"train": defaultdict(list)},
        aux_loss_enabled=False,
        epsilon_low=0.2,
        epsilon_high=0.2,
        beta=0.0,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        use_vllm=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=LONGEST,
        _entropy_bonus_enabled=False,
        loss_type="bnpo",
        args=types.SimpleNamespace(delta=None, use_bias_correction_kl=False),
    )
    vars(trainer).update(words)
    inputs = {
        "prompt_ids": torch.zeros(len(COUNTS), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(COUNTS), 1),
        "completion_ids": torch.zeros_like(now, dtype=torch.long),
        "completion_mask": mask,
        "advantages": advantages,
        "old_logps": (padded(answers.before) * mask).sum(1),
        "old_per_token_logps": padded(answers.before),
        "ref_per_token_logps": padded(answers.reference),
    }
    return kind._compute_loss(trainer, trainer.model, inputs)


def same(ours, theirs, answers):
    """The loss and its gradient."""
    [mine] = torch.autograd.grad(ours, answers.now, retain_graph=True)
    [its] = torch.autograd.grad(theirs, answers.now)
    assert mine.abs().max() > 0.01
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(mine, its)


def test_rloo_s_loss_is_trl_s(answers):
    advantages = rloo_advantages(REWARDS)
    ours = rloo_loss(answers, advantages, epsilon=0.2)
    same(ours, trl(RLOOTrainer, answers, advantages), answers)


@pytest.mark.parametrize("aggregate", ["bnpo", "grpo", "dr_grpo"])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_grpo_s_loss_is_trl_s(answers, aggregate, beta):
    advantages = grpo_advantages(REWARDS)
    ours = grpo_loss(
        answers, advantages, epsilon=0.2, beta=beta, aggregate=aggregate, longest=LONGEST
    )
    same(ours, trl(GRPOTrainer, answers, advantages, beta=beta, loss_type=aggregate), answers)


def statements(kind, first, last):
    """Lines of TRL's own source, from one that begins so to one that begins so."""
    lines = inspect.getsource(kind._generate_and_score_completions).splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    end = next(i for i, line in enumerate(lines) if i > start and line.strip().startswith(last))
    return inspect.cleandoc("\n" + "\n".join(lines[start:end]))


@pytest.mark.parametrize("normalize", [False, True])
def test_rloo_s_advantages_are_trl_s(answers, normalize):
    """With the KL taken off the rewards, as TRL's lines do it."""
    from trl.trainer import rloo_trainer

    mask = padded(torch.ones(len(answers.now)))
    scope = {
        **vars(rloo_trainer),
        "self": types.SimpleNamespace(beta=0.1, normalize_advantages=normalize),
        "rewards": REWARDS.flatten(),
        "old_per_token_logps": padded(answers.before),
        "ref_per_token_logps": padded(answers.reference),
        "completion_mask": mask,
        "gather": lambda values: values,
        "num_generations": 3,
    }
    exec(statements(RLOOTrainer, "# Include the KL", "is_std_zero"), scope)  # noqa: S102  TRL's
    rewards = REWARDS - 0.1 * answers.kl().view(2, 3)
    torch.testing.assert_close(rloo_advantages(rewards, normalize=normalize), scope["advantages"])


def test_grpo_s_advantages():
    """Less the mean of the prompt's, over its spread or the batch's."""
    off = REWARDS - REWARDS.mean(1, keepdim=True)
    torch.testing.assert_close(grpo_advantages(REWARDS, scale="none"), off.flatten())
    for row, own in zip(grpo_advantages(REWARDS).view(2, 3), off, strict=True):
        torch.testing.assert_close(row, own / (own.std() + 1e-4))
    batch = grpo_advantages(REWARDS, scale="batch")
    torch.testing.assert_close(batch, (off / (REWARDS.std() + 1e-4)).flatten())


def test_defaults_are_those_of_trl():
    """Of the words that both have; what differs does so on purpose."""
    import dataclasses

    from trl import GRPOConfig, RLOOConfig

    from nbpeft.objectives._rl_config import BETA, rl_config

    ours = {f.name: f.default for f in dataclasses.fields(rl_config())}
    own = {"num_generations", "beta", "max_completion_length", "loss_type", "learning_rate"}
    for kind in (RLOOConfig, GRPOConfig):
        theirs = {f.name: f.default for f in dataclasses.fields(kind)}
        assert BETA[kind.__name__[:4].lower()] == theirs["beta"]
        words = [
            "num_iterations", "temperature", "top_p", "top_k", "epsilon", "epsilon_high",
            "disable_dropout", "mask_truncated_completions", "remove_unused_columns",
        ]  # fmt: skip
        assert not own & set(words)
        assert {word: ours[word] for word in words} == {word: theirs[word] for word in words}
