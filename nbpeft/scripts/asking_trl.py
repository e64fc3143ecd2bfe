"""What TRL's own preparation makes of rows: asked of TRL itself, on a few of them.

A script leaves tokenizing to TRL where that comes to the tokens and labels that nbpeft trains on,
and does it itself in a few lines where it doesn't. Which of the two holds is tried, not assumed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

Row = dict[str, Any]
IGNORED = -100


def sft(tokenizer: Any, rows: Sequence[Row], words: Row, max_length: int) -> list[Row]:
    """`input_ids` and `labels` by SFTTrainer, under some words of its config."""
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers
    from trl.trainer.sft_trainer import SFTTrainer

    marked = words.get("assistant_only_loss", False)
    template = None
    if marked and not has_generation_markers(tokenizer.get_chat_template()):
        template = get_training_chat_template(tokenizer)
    whole = words.get("completion_only_loss")
    trainer = SimpleNamespace(
        _tokenizer=tokenizer,
        chat_template=template,
        completion_only_loss="prompt" in rows[0] if whole is None else whole,
    )
    args = _args(max_length, dataset_text_field="text", assistant_only_loss=marked)
    prepare = SFTTrainer._prepare_dataset
    made = prepare(trainer, _dataset(rows), tokenizer, args, False, None, "train")
    return [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in made]


def dpo(tokenizer: Any, rows: Sequence[Row], words: Row, max_length: int) -> list[Row]:
    """Both answers by DPOTrainer, as nbpeft has them."""
    from trl.trainer.dpo_trainer import DPOTrainer

    made = DPOTrainer._prepare_dataset(
        SimpleNamespace(_tokenizer=tokenizer), _dataset(rows), tokenizer, _args(max_length), "train"
    )
    return [
        answer(row["prompt_ids"], row["chosen_ids"], max_length)
        | answer(row["prompt_ids"], row["rejected_ids"], max_length, "rejected_")
        for row in made
    ]


def kto(tokenizer: Any, rows: Sequence[Row], words: Row, max_length: int) -> list[Row]:
    """Answers by KTOTrainer."""
    from trl.trainer.kto_trainer import KTOTrainer

    trainer = SimpleNamespace(_tokenizer=tokenizer, calculate_KL=False)
    args = _args(max_length)
    made = KTOTrainer._prepare_dataset(trainer, _dataset(rows), tokenizer, args, "held_out")
    return [answer(row["prompt_ids"], row["completion_ids"], max_length) for row in made]


def cpo(tokenizer: Any, rows: Sequence[Row], words: Row, max_length: int) -> list[Row]:
    """Both answers by CPOTrainer and ORPOTrainer, which tokenize alike."""
    from trl.data_utils import maybe_apply_chat_template, maybe_extract_prompt
    from trl.experimental.cpo import CPOTrainer

    trainer = SimpleNamespace(
        processing_class=tokenizer, max_length=max_length, is_encoder_decoder=False
    )
    trainer.build_tokenized_answer = CPOTrainer.build_tokenized_answer.__get__(trainer)
    texts = [maybe_apply_chat_template(maybe_extract_prompt(r), tokenizer) for r in rows]
    made = [CPOTrainer.tokenize_row(trainer, text) for text in texts]
    return [
        {
            "input_ids": row["chosen_input_ids"],
            "labels": row["chosen_labels"],
            "rejected_input_ids": row["rejected_input_ids"],
            "rejected_labels": row["rejected_labels"],
        }
        for row in made
    ]


def reward(tokenizer: Any, rows: Sequence[Row], words: Row, max_length: int) -> list[Row]:
    """The tokens of both answers by RewardTrainer."""
    from trl.trainer.reward_trainer import RewardTrainer

    made = RewardTrainer._prepare_dataset(
        SimpleNamespace(), _dataset(rows), tokenizer, _args(max_length), "train"
    )
    return [
        {"input_ids": row["chosen_ids"], "rejected_input_ids": row["rejected_ids"]} for row in made
    ]


def answer(prompt: list[int], said: list[int], length: int, before: str = "") -> Row:
    """A prompt with an answer, of which that is trained."""
    labels = [IGNORED] * len(prompt) + said
    return {f"{before}input_ids": (prompt + said)[:length], f"{before}labels": labels[:length]}


Asked = Callable[[Any, Sequence[Row], Row, int], list[Row]]


@contextlib.contextmanager
def undisturbing(tokenizer: Any) -> Iterator[None]:
    """Inside TRL may be asked; nothing of it stays, and nothing is said."""
    from nbpeft.data.tokens.rendering import undisturbed
    from nbpeft.guard import process_state_kept
    from nbpeft.quiet import quiet

    with quiet(), process_state_kept(), undisturbed(tokenizer):
        yield


def _dataset(rows: Sequence[Row]) -> Any:
    from datasets import Dataset

    return Dataset.from_list([dict(row) for row in rows])


def _args(max_length: int, **words: Any) -> Any:
    return SimpleNamespace(
        max_length=max_length,
        truncation_mode="keep_start",
        dataset_num_proc=None,
        shuffle_dataset=False,
        seed=0,
        **words,
    )
