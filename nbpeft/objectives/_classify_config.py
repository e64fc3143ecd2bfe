"""The config of the objective `classify`: transformers' own, with the length of texts."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class ClassifyConfig(TrainingArguments):
    """transformers' TrainingArguments for texts of so many tokens."""

    max_length: int = field(default=1024, metadata={"help": "tokens of a text; the rest is cut"})
