"""Losses made of the scores of trained tokens, and trainers that compute them so.

TRL's trainer takes logits for every position, and the entropy and accuracy of each beside its loss.
Here the seam scores the tokens that are trained and nothing else; what the run's config says of the
loss is taken over where it is known, and where it isn't, TRL's own `compute_loss` stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from nbpeft.objectives._lengths import by_length

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nbpeft.seam.probe import Choice
    from nbpeft.seam.scores import Scorer

NEUTRAL = frozenset(
    {
        "adam_beta1", "adam_beta2", "adam_epsilon", "assistant_only_loss", "auto_find_batch_size",
        "average_tokens_across_devices", "bf16", "chat_template_path", "completion_only_loss",
        "data_seed", "dataloader_drop_last", "dataloader_in_order",
        "dataloader_multiprocessing_context", "dataloader_num_workers",
        "dataloader_persistent_workers", "dataloader_pin_memory", "dataloader_prefetch_factor",
        "dataset_kwargs", "dataset_num_proc", "dataset_text_field", "debug", "disable_tqdm",
        "do_eval", "do_predict", "do_train", "eos_token", "eval_accumulation_steps", "eval_delay",
        "eval_do_concat_batches", "eval_on_start", "eval_packing", "eval_steps", "eval_strategy",
        "fp16", "full_determinism", "gradient_accumulation_steps", "gradient_checkpointing",
        "greater_is_better", "ignore_data_skip", "include_num_input_tokens_seen", "learning_rate",
        "length_column_name", "load_best_model_at_end", "log_level", "log_level_replica",
        "log_on_each_node", "logging_first_step", "logging_nan_inf_filter", "logging_steps",
        "logging_strategy", "lr_scheduler_kwargs", "lr_scheduler_type", "max_grad_norm",
        "max_length", "max_steps", "metric_for_best_model", "model_init_kwargs",
        "num_train_epochs", "optim", "optim_args", "optim_target_modules", "output_dir",
        "packing", "packing_strategy", "pad_to_multiple_of", "pad_token", "padding_free",
        "per_device_eval_batch_size", "per_device_train_batch_size", "prediction_loss_only",
        "project", "remove_unused_columns", "report_to", "resume_from_checkpoint",
        "router_aux_loss_coef", "run_name", "save_only_model", "save_steps", "save_strategy",
        "save_total_limit", "seed", "shuffle_dataset", "skip_memory_metrics", "tf32",
        "torch_empty_cache_steps", "train_sampling_strategy", "truncation_mode",
        "trust_remote_code", "use_cache", "use_cpu", "warmup_steps", "weight_decay",
    }
)  # fmt: skip
"""Fields of the trainer's config that mean the same whichever way a batch goes.

Any other that is set leaves the plain way: one that changes the loss (`label_smoothing_factor`,
`loss_type`, `neftune_noise_alpha`), the forward (`torch_compile`), or that is newer than this list.
The router's auxiliary loss is asked of the trainer, as models bring a coefficient of their own.
"""


def changes_loss(settings: Mapping[str, Any], config: type[Any]) -> str:
    """The first setting that only the plain way is known to honour; ''."""
    for field in dataclasses.fields(config):
        if field.name in settings and field.name not in NEUTRAL:
            made = field.default_factory
            default = field.default if made is dataclasses.MISSING else made()
            if settings[field.name] != default:
                return field.name
    return ""


def scored(base: type[Any]) -> type[Any]:
    """TRL's trainer `base`, with batches and losses by the seam once `take` was called."""
    return type("ScoredTrainer", (_Scored, base), {})


class _Scored:
    """Before a trainer: its loss is the mean of -score over a step's trained tokens."""

    tried: Choice | None = None
    """What trying the model came to, where that is known."""
    scorer: Scorer | None = None
    grouped = False
    """Whether batches are of rows of about one length."""

    # The trainer's own.
    accelerator: Any
    args: Any
    data_collator: Any
    model: Any
    train_dataset: Any
    _metrics: Any
    _total_train_tokens: int

    def take(self, choice: Choice) -> None:
        """Go the way that was chosen from here on."""
        from nbpeft.seam.packing import Packed, Padded

        self.scorer = choice.scorer
        if choice.way == "packed":
            self.grouped = False
            self.data_collator = Packed()
        elif choice.way == "padded":
            self.data_collator = Padded(choice.filler)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any) -> torch.Tensor:
        """Forward and backward: with checkpointing, the latter runs forwards again."""
        with self._over(inputs):
            step: torch.Tensor = super().training_step(model, inputs, *args)  # type: ignore[misc]
        return step

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **words: Any
    ) -> Any:
        """A held-out batch."""
        with self._over(inputs):
            return super().prediction_step(model, inputs, *args, **words)  # type: ignore[misc]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss; `num_items_in_batch` counts the trained tokens of all accumulated batches."""
        import torch

        if self.scorer is None:
            base: Any = super()
            return base.compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # What Accelerate wraps is the whole model's forward, which isn't called here.
        with self.accelerator.autocast():
            scores = self.scorer.scores(inputs)
        total = len(scores) if num_items_in_batch is None else num_items_in_batch
        # A batch that trains nothing comes to zero, not to 0 / 0.
        loss = -scores.sum() / torch.as_tensor(total).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        mode = "train" if self.model.training else "eval"
        if mode == "train":
            self._total_train_tokens += sum(inputs["lengths"])
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        return (loss, {}) if return_outputs else loss

    def _over(self, inputs: dict[str, Any]) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self.scorer is None else self.scorer.over(inputs)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self.grouped:
            return super()._get_train_sampler(train_dataset)  # type: ignore[misc]
        return by_length(train_dataset or self.train_dataset, self.args)


def quicken(trainer: Any, settings: Mapping[str, Any]) -> str:
    """Try the model and take the fastest way; see `Objective.quicken`."""
    from nbpeft.seam.probe import Choice, choose

    trainer.grouped = "train_sampling_strategy" not in settings
    known = changes_loss(settings, type(trainer.args))
    if not known and trainer.aux_loss_enabled:
        known = "the router's auxiliary loss (router_aux_loss_coef)"
    if known:
        choice = Choice("plain", why=f"{known} is part of TRL's own loss only")
    else:
        longest = trainer.args.max_length
        choice = trainer.tried or choose(
            trainer.model, longest=longest, autocast=trainer.accelerator.autocast
        )
    trainer.take(choice)
    return f"{SLOWER[choice.way]}: {choice.why}" if choice.why else ""


SLOWER = {
    "packed": "",
    "padded": "rows are padded, not packed",
    "plain": "rows are padded, and all their logits computed",
}
"""What the way that was chosen costs, for the line that says why."""
