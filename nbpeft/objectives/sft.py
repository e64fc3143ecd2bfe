"""Supervised fine-tuning: the next token of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nbpeft.architectures import Architecture
from nbpeft.objectives import Objective, objectives
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from nbpeft.data.signals import Signal


RESERVED = frozenset(
    {
        # Rows arrive tokenized, masked and cut: these act on TRL's own preparation.
        "assistant_only_loss",
        "chat_template_path",
        "completion_only_loss",
        "dataset_kwargs",
        "dataset_num_proc",
        "dataset_text_field",
        "eos_token",
        "eval_packing",
        "packing",
        "packing_strategy",
        "pad_token",
        "padding_free",
        "truncation_mode",
        # The model is there already.
        "model_init_kwargs",
        "trust_remote_code",
    }
)
"""Fields of TRL's config that act where nbpeft has acted already."""


class SFT(Objective):
    """TRL's SFTTrainer and loss over rows that nbpeft has tokenized and masked."""

    apart: ClassVar[bool] = False
    """Whether a row's prompt is read and its answer written apart."""

    def on(self, architecture: Architecture) -> Objective:
        """Encoder-decoders are trained by transformers' own trainer: TRL's knows decoders only."""
        if architecture != "encoder-decoder":
            return self
        from nbpeft.objectives._seq2seq import seq2seq

        return seq2seq(self)

    def config_class(self) -> type[Any]:
        """TRL's SFTConfig."""
        from trl.trainer.sft_config import SFTConfig

        kind: type[Any] = SFTConfig
        return kind

    def trainer_class(self) -> type[Any]:
        """TRL's SFTTrainer, whose batches and loss may go by the seam."""
        from trl.trainer.sft_trainer import SFTTrainer

        from nbpeft.objectives._scored import scored

        return scored(SFTTrainer)

    def quicken(self, trainer: Any, settings: Mapping[str, Any]) -> str:
        """Packed rows, logits where tokens are trained; what can't be packed goes by length."""
        from nbpeft.objectives._scored import quicken

        return quicken(trainer, settings)

    def reading(self, loss_on: LossOn) -> Signal:
        """Text, prompt/completion or messages; `loss_on` says which tokens carry labels."""
        from nbpeft.data.signals import signal_of

        return signal_of(self.signal, loss_on=loss_on, apart=self.apart)

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Pad on the right to the longest row; padding is masked by position, not by its id.

        So a tokenizer whose padding token is its end token still learns to end.
        """
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

        pad = tokenizer.pad_token_id
        filler = next(i for i in (pad, tokenizer.eos_token_id, 0) if i is not None)
        collate: Callable[[list[dict[str, Any]]], dict[str, Any]] = DataCollatorForLanguageModeling(
            pad_token_id=filler
        )
        return collate


objectives.add(
    SFT(
        name="sft",
        summary="the next token of the answers",
        unit="nats per token",
        gives=frozenset({"causal logits"}),
        reads=frozenset({"decoder", "encoder-decoder"}),
        defaults={"dataset_kwargs": {"skip_prepare_dataset": True}},
        reserved=RESERVED,
    )
)
