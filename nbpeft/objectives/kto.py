"""Kahneman-Tversky optimization: answers that were rated by themselves, thumbs up or down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, listed, quoted
from nbpeft.objectives import Measure, objectives
from nbpeft.objectives._policy import NUMBER, OfPolicy, Policy, counted
from nbpeft.objectives._reserved import REFERRED

if TYPE_CHECKING:
    import torch


LOSSES = ("kto", "apo_zero_unpaired")
OTHER = ("other_input_ids", "other_labels")
"""Columns of a prompt with another row's answer."""


@dataclass(frozen=True, kw_only=True)
class KTO(OfPolicy):
    """Ethayarajh et al. 2024, arXiv:2402.01306; `apo_zero_unpaired`: arXiv:2408.06266, eq. 7."""

    def config_class(self) -> type[Any]:
        """TRL's KTOConfig: `beta`, `desirable_weight`, `undesirable_weight`, `loss_type`, …"""
        from trl.trainer.kto_config import KTOConfig

        kind: type[Any] = KTOConfig
        return kind

    def check(self, arguments: Any) -> None:
        """Refuse a loss that isn't there."""
        if arguments.loss_type not in LOSSES:
            raise RequestError(
                f"There is no loss {quoted(arguments.loss_type)}; those of kto are: "
                f"{listed(LOSSES)}."
            )

    def trainer_class(self) -> type[Any]:
        """Transformers' Trainer with this loss, over rows packed by the seam."""
        from nbpeft.objectives._measuring import measuring

        return measuring(_KTOTrainer)

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Answers, and beside them each prompt with another row's answer."""
        return RatedBatch()


class RatedBatch:
    """A collator: rated rows -> a batch of their answers, and in it `others`, mismatched ones."""

    layout: Any = None
    """Of `nbpeft.seam.packing`; what the trainer has chosen."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batches, with `numbers` (rows) of their rows and `good` (rows)."""
        import torch

        numbers = torch.tensor([row.get(NUMBER, 0) for row in rows])
        answers = [
            {"input_ids": row["input_ids"], "labels": row["labels"], "shared": 0} for row in rows
        ]
        ids, labels = OTHER
        others = [  # its own, where a step is only traced
            {
                "input_ids": row.get(ids, row["input_ids"]),
                "labels": row.get(labels, row["labels"]),
                "shared": 0,
            }
            for row in rows
        ]
        return {
            **counted(self.layout, answers),
            "numbers": numbers,
            "good": torch.tensor([bool(row["good"]) for row in rows]),
            "others": {**counted(self.layout, others), "numbers": numbers},
        }


class _KTOTrainer(Policy):
    def __init__(self, *args: Any, **keywords: Any) -> None:
        seed, most = keywords["args"].seed, keywords["args"].max_length
        for name in ("train_dataset", "eval_dataset"):
            if keywords[name] is not None:
                keywords[name] = mismatched(keywords[name].shuffle(seed), most)
        super().__init__(*args, **keywords)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean over the batch's rows."""
        args = self.args
        drift = self._drift(inputs["others"]) if args.loss_type == "kto" else 0.0
        # Before the forward that is gone back through: the reference swaps the model's layers.
        reference = self.referred(inputs)
        gained = self.sums(self.scorer, inputs) - reference
        value = args.beta * (gained - drift)
        good = inputs["good"]
        import torch

        weight = torch.where(good, args.desirable_weight, args.undesirable_weight)
        loss = (weight * (1 - torch.where(good, value, -value).sigmoid())).mean()
        side = torch.where(good, 1.0, -1.0) * value.detach().sign()
        self.measure("accuracies", (side + 1) / 2)  # undecided rows count half
        if args.loss_type == "kto":
            self.measure("kl", drift)
        self.count(sum(inputs["lengths"]))
        return (loss, {}) if return_outputs else loss

    def _drift(self, others: dict[str, Any]) -> torch.Tensor:
        """() how far the policy is from the reference, by answers to other prompts; at least 0."""
        reference = self.referred(others, "others")
        with self.aside(others):
            drift = (self.sums(self.scorer, others) - reference).mean()
        return drift.clamp(min=0)


def mismatched(rows: Any, most: int) -> Any:
    """Each row with its prompt before the answer of the row before it, in columns of their own.

    Args:
        most: tokens that these are cut to.
    """
    ids, labels = OTHER

    def beside(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        answers = [_answer(*row) for row in zip(batch["input_ids"], batch["labels"], strict=True)]
        prompts = [
            row[: len(row) - len(a)] for row, a in zip(batch["input_ids"], answers, strict=True)
        ]
        moved = [answers[-1], *answers[:-1]]
        return {
            ids: [(p + a)[:most] for p, a in zip(prompts, moved, strict=True)],
            labels: [([-100] * len(p) + a)[:most] for p, a in zip(prompts, moved, strict=True)],
        }

    return rows.map(beside, batched=True, keep_in_memory=True, load_from_cache_file=False)


def _answer(ids: list[int], labels: list[int]) -> list[int]:
    """The tokens from the first trained one on."""
    return ids[next(i for i, label in enumerate(labels) if label >= 0) :]


objectives.add(
    KTO(
        name="kto",
        summary="answers rated good become likelier and those rated bad less, compared with the "
        "start",
        paper="Ethayarajh et al. 2024, arXiv:2402.01306",
        gives=frozenset({"causal logits"}),
        learning_rate_factor=0.25,
        defaults={"remove_unused_columns": False},
        aliases={"loss": "loss_type"},
        reserved=REFERRED,
        signal="ratings",
        measures=(Measure("accuracies", "accuracy", share=True), Measure("kl", "KL")),
    )
)
