"""Supervised fine-tuning of encoder-decoders: the next token of answers to a text that is read.

TRL's SFTTrainer takes the labels for the input shifted by one, which only decoders have; this is
transformers' own Trainer (huggingface.co/docs/transformers/tasks/translation).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from nbpeft.objectives._lengths import by_length
from nbpeft.objectives.sft import SFT

ONLY_TRL = frozenset(
    {
        "activation_offloading",
        "loss_type",
        "pad_to_multiple_of",
        "router_aux_loss_coef",
        "shuffle_dataset",
    }
)
"""Fields of TRL's config that its own trainer acts on, and transformers' doesn't know."""


class Seq2SeqSFT(SFT):
    """SFT's words and defaults, with rows, batch and trainer of an encoder-decoder."""

    apart: ClassVar[bool] = True

    def trainer_class(self) -> type[Any]:
        """The Trainer of transformers, made to count tokens as TRL's trainers do."""
        import torch
        from transformers import Trainer

        class Seq2Seq(Trainer):
            """Its loss is the mean over the trained tokens of all accumulated batches."""

            grouped = False

            def __init__(self, *args: Any, **keywords: Any) -> None:
                super().__init__(*args, **keywords)
                # So the trained tokens of a step are counted, and its loss is left as it is. Most
                # encoder-decoders take any keyword and use none: T5 with accumulated gradients
                # would be trained on the sum of its batches' losses.
                self.model_accepts_loss_kwargs = True
                self._tokens = 0

            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                if not self.grouped:
                    return super()._get_train_sampler(train_dataset)
                return by_length(train_dataset or self.train_dataset, self.args)

            def compute_loss(
                self,
                model: torch.nn.Module,
                inputs: dict[str, Any],
                return_outputs: bool = False,
                num_items_in_batch: torch.Tensor | None = None,
            ) -> Any:
                trained = (inputs["labels"] != -100).sum()
                if model.training:
                    self._tokens += int(inputs["attention_mask"].sum() + trained)
                if self.label_smoother is not None:  # takes the labels away from the model
                    shift = self.model.prepare_decoder_input_ids_from_labels
                    inputs["decoder_input_ids"] = shift(labels=inputs["labels"])
                inputs["use_cache"] = False
                loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
                if num_items_in_batch is not None:
                    loss = loss * trained / num_items_in_batch
                return (loss, outputs) if return_outputs else loss

            def log(self, logs: dict[str, float], *args: Any, **keywords: Any) -> None:
                super().log({**logs, "num_tokens": self._tokens}, *args, **keywords)

        return Seq2Seq

    def quicken(self, trainer: Any, settings: Mapping[str, Any]) -> str:
        """Two texts a row aren't packed; batches are of rows of about one length."""
        trainer.grouped = "train_sampling_strategy" not in settings
        return ""

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Pad each side on the right to its longest; padding is masked by position."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        pad = tokenizer.pad_token_id
        filler = next(i for i in (pad, tokenizer.eos_token_id, 0) if i is not None)

        def padded(rows: list[list[int]], value: int) -> torch.Tensor:
            return pad_sequence([torch.tensor(row) for row in rows], True, value)

        def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
            prompts = [row["input_ids"] for row in rows]
            return {
                "input_ids": padded(prompts, filler),
                "attention_mask": padded([[1] * len(prompt) for prompt in prompts], 0),
                "labels": padded([row["labels"] for row in rows], -100),
            }

        return collate


def seq2seq(objective: SFT) -> Seq2SeqSFT:
    """The objective on encoder-decoders."""
    fields = {f.name: getattr(objective, f.name) for f in dataclasses.fields(objective)}
    return Seq2SeqSFT(**fields | {"reserved": objective.reserved | ONLY_TRL})
