"""The trainer of reinforcement learning: answers are sampled, judged, and made likelier or not.

Each batch of prompts is answered by the policy as it is then, several times a prompt. What is
shown as the loss is minus what is raised: the mean reward, less what the distance to the policy at
the run's start costs. Its gradient is that of the algorithm's own loss, whose value says nothing:
RLOO's is 0 whenever answers are learned from once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nbpeft.objectives._policy import NUMBER, Policy, counted
from nbpeft.objectives._rl_losses import (
    Answers,
    grpo_advantages,
    grpo_loss,
    rloo_advantages,
    rloo_loss,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nbpeft.feedback import Answered, Reward
    from nbpeft.objectives._rollouts import Writer
    from nbpeft.seam.probe import Choice
    from nbpeft.seam.scores import Scores


@dataclass
class Rollout:
    """The answers to a batch of prompts, as one batch of the seam."""

    batch: dict[str, Any]
    rewards: torch.Tensor
    """(answers,)."""
    reference: torch.Tensor | None
    """(tokens,) their log-probabilities under the policy at the run's start."""
    before: torch.Tensor | None = None
    """(tokens,) under the policy that wrote them; known once it is learned from."""
    uses: int = 0
    """How many steps have learned from it."""


class Reinforced(Policy):
    """Before a Trainer whose batches are prompts: see the module's text."""

    reward: Reward
    writer: Writer | None = None
    """None where a step is only traced: answers are as long as may be then."""
    layout: Any

    # The trainer's own.
    args: Any
    processing_class: Any

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._kept: dict[tuple[int, ...], Rollout] = {}

    def take(self, choice: Choice) -> None:
        """Go the way that was chosen from here on, at the temperature that is sampled at."""
        super().take(choice)
        self.layout = self.data_collator.layout
        self.scorer = self._tempered(self.scorer, self.model)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any) -> torch.Tensor:
        """Answer the prompts, and learn from the answers."""
        rollout = self._rollout(inputs["asked"].rows)
        return super().training_step(model, {**rollout.batch, "rollout": rollout}, *args)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Minus what is raised, with the gradient of the algorithm's loss."""
        rollout = inputs["rollout"]
        with self.accelerator.autocast():
            now = self.scorer.scores(inputs)
        if rollout.before is None:
            rollout.before = now.detach()
        answers = self._answers(inputs, now, rollout)
        rewards, costs = rollout.rewards, self._costs(answers)
        loss = self._loss(answers, rewards, costs)
        loss = loss - loss.detach() - (rewards - costs).mean()
        if not rollout.uses:
            self.measure("reward", rewards)
            self.measure("completion_length", answers.counts)
            if answers.reference is not None:
                self.measure("kl", answers.kl())
        rollout.uses += 1
        self.count(sum(inputs["lengths"]))
        return (loss, {}) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **words: Any
    ) -> tuple[torch.Tensor, None, None]:
        """Of held-out prompts: minus the mean reward of the likeliest answers."""
        import torch

        if self.writer is None:
            return torch.zeros((), device=self.args.device), None, None
        answers = self.writer.likeliest(inputs["asked"].rows)
        rewards = self._rewards(answers)
        self.measure("reward", rewards)
        self.measure("completion_length", torch.tensor([len(answer.ids) for answer in answers]))
        return -rewards.mean(), None, None

    def _rollout(self, rows: Sequence[Mapping[str, Any]]) -> Rollout:
        """The answers to a batch of prompts; the same ones for as many steps as was asked for."""
        if self.args.num_iterations == 1:
            return self._made(rows)
        key = tuple(row[NUMBER] for row in rows)
        kept = self._kept.pop(key, None)
        rollout = self._made(rows) if kept is None else kept
        if rollout.uses + 1 < self.args.num_iterations:
            self._kept = {key: rollout}
        return rollout

    def _made(self, rows: Sequence[Mapping[str, Any]]) -> Rollout:
        import torch

        if self.writer is None:
            texts = self._longest(rows)
            rewards = torch.zeros(len(texts), device=self.args.device)
        else:
            answers = self.writer.sampled(rows)
            rewards = self._rewards(answers)
            texts = self._texts(answers)
        batch = self._prepare_inputs(counted(self.layout, texts))  # type: ignore[attr-defined]
        return Rollout(batch, rewards, self._reference(batch))

    def _rewards(self, answers: Sequence[Answered]) -> torch.Tensor:
        """(answers,) what they are worth, cut to the range that was asked for."""
        import torch

        assert self.reference is not None
        aside = self.reference() if self.reward.swaps else contextlib.nullcontext()
        with aside:
            found = self.reward.rewards(answers)
        rewards = torch.tensor(found, dtype=torch.float32, device=self.args.device)
        if self.args.reward_clip_range is None:
            return rewards
        return rewards.clamp(*self.args.reward_clip_range)

    def _texts(self, answers: Sequence[Answered]) -> list[dict[str, Any]]:
        """Prompts with their answers, which are trained; a prompt's later ones share it."""
        assert self.writer is not None
        texts, number = [], 0
        for number, answer in enumerate(answers):
            trained = not self.args.mask_truncated_completions or self.writer.ended(answer)
            texts.append(
                _text(
                    answer.prompt_ids,
                    answer.ids,
                    first=number % self.args.num_generations == 0,
                    trained=trained,
                )
            )
        return texts

    def _longest(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        ids = [0] * self.args.longest_answer
        return [
            _text(row["input_ids"], ids, first=number == 0)
            for row in rows
            for number in range(self.args.num_generations)
        ]

    def _reference(self, batch: dict[str, Any]) -> torch.Tensor | None:
        """(tokens,) log-probabilities under the policy at the run's start, where they count."""
        import torch

        if not self.args.penalty:
            return None
        if self.reference is None:
            return torch.zeros(len(batch["scored"]), device=self.args.device)
        with self.reference() as model, torch.no_grad():
            scorer = self._tempered(self._reference_scorer(model), model)
            with scorer.over(batch), self.accelerator.autocast():
                return scorer.scores(batch)

    def _tempered(self, scorer: Scores, model: nn.Module) -> Scores:
        """The scorer of what is sampled: logits over the temperature."""
        from nbpeft.seam.packing import Padded
        from nbpeft.seam.scores import Scorer, Whole

        temperature = self.args.temperature
        if temperature == 1:
            return scorer
        if isinstance(scorer, Scorer) and scorer.head.softcap is None:
            head = replace(scorer.head, scale=scorer.head.scale / temperature)
            return replace(scorer, head=head)
        self.layout = Padded(self.choice.filler)
        return Whole(model, temperature)

    def _answers(self, batch: dict[str, Any], now: torch.Tensor, rollout: Rollout) -> Answers:
        import torch

        counts = batch["counts"]
        every = torch.arange(len(counts), device=counts.device)
        owners = torch.repeat_interleave(every, counts, output_size=len(now))
        assert rollout.before is not None
        return Answers(now, rollout.before, owners, counts, rollout.reference)

    def _costs(self, answers: Answers) -> torch.Tensor:
        """(answers,) what the distance to the policy at the run's start costs each."""
        if answers.reference is None:
            return answers.counts.new_zeros(len(answers.counts)).float()
        return answers.kl() * self.args.penalty  # type: ignore[no-any-return]

    def _loss(self, answers: Answers, rewards: torch.Tensor, costs: torch.Tensor) -> torch.Tensor:
        args = self.args
        clipping = {"epsilon": args.epsilon, "epsilon_high": args.epsilon_high}
        if args.algorithm == "rloo":
            groups = (rewards - costs).view(-1, args.num_generations)
            advantages = rloo_advantages(groups, normalize=args.normalize_advantages)
            return rloo_loss(answers, advantages, **clipping)
        groups = rewards.view(-1, args.num_generations)
        return grpo_loss(
            answers,
            grpo_advantages(groups, scale=args.scale_rewards),
            beta=args.penalty,
            aggregate=args.loss_type,
            longest=args.longest_answer,
            **clipping,
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.num_iterations == 1:
            return super()._get_train_sampler(train_dataset)  # type: ignore[misc]
        from nbpeft.objectives._repeated import repeated

        return repeated(len(train_dataset or self.train_dataset), self.args)


def _text(
    prompt: Sequence[int], answer: Sequence[int], *, first: bool, trained: bool = True
) -> dict[str, Any]:
    labels = list(answer) if trained else [-100] * len(answer)
    return {
        "input_ids": [*prompt, *answer],
        "labels": [-100] * len(prompt) + labels,
        "shared": 0 if first else len(prompt),
    }
