"""From what signal, in plain TRL: a table of objectives by name.

Each entry says which trainer of TRL's (or of transformers') comes to the same loss, how its rows
are made ready, and in a few lines where it differs. An objective that isn't in the table has no
writer: it is nbpeft's own (`own.OBJECTIVES` says why).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbpeft.scripts import asking_trl
from nbpeft.scripts.samples import Way
from nbpeft.scripts.tokens import (
    way_of_answers,
    way_of_blocks,
    way_of_classes,
    way_of_judged,
    way_of_scored,
)

if TYPE_CHECKING:
    from nbpeft.data.splitting.parts import Part
    from nbpeft.prepare import Prepared

BOTH = ("input_ids", "labels", "rejected_input_ids", "rejected_labels")


@dataclass(frozen=True)
class Learned:
    """How a script learns from a signal."""

    module: str
    trainer: str
    config: str
    way: Callable[[Prepared, Part], Way]
    """How rows are made ready; OwnError where the libraries write them otherwise."""
    grouped: bool = False
    """Whether nbpeft puts rows of about one length into a batch where it pads them."""
    lengths: str = "input_ids"
    """The column of the trainer's rows that this goes by."""
    members: tuple[str, ...] = ()
    """Methods of the trainer's subclass: what differs."""
    imports: frozenset[tuple[str, str]] = frozenset()
    refers: bool = False
    """Whether the loss compares with the policy at the run's start."""
    soft: bool = True
    """Whether the trainer takes methods that put a prompt before the tokens."""
    penalized: bool = False
    """Whether a method's penalty is added to its loss as it stands."""
    head: bool = False
    """Whether a head is trained over the body's features."""


def _preferences(ready: Prepared, part: Part) -> Way:
    return way_of_judged(ready, part, asking_trl.dpo, BOTH)


def _ratings(ready: Prepared, part: Part) -> Way:
    way = way_of_judged(ready, part, asking_trl.kto, ("input_ids", "labels"))
    seed = ready.settings.trainer.get("seed", 42)
    shuffled = f"ROWS = ROWS.shuffle({seed})  # so that a prompt meets any other answer"
    return Way(way.steps, way.defined, way.words, way.imports, (*way.last, shuffled))


def _alone(ready: Prepared, part: Part) -> Way:
    return way_of_judged(ready, part, asking_trl.cpo, BOTH)


ORPO = '''    def concatenated_forward(self, model, batch):
        """The chosen answers' own loss, as in the paper; TRL's takes in their prompts' tokens."""
        chosen, rejected, *logits, _ = super().concatenated_forward(model, batch)[:5]
        tokens = (batch["chosen_labels"][:, 1:] != -100).sum(-1)
        return chosen, rejected, *logits, -(chosen * tokens).sum() / tokens.sum()'''

KTO = '''    def _prepare_dataset(self, dataset, *words):
        """A prompt meets the answer of the row before it, over all rows and not in a batch."""
        rows = super()._prepare_dataset(dataset, *words)
        if "KL_completion_ids" not in rows.column_names:
            return rows
        answers = rows["completion_ids"][:]
        rows = rows.remove_columns("KL_completion_ids")
        return rows.add_column("KL_completion_ids", [answers[-1], *answers[:-1]])'''

OBJECTIVES: dict[str, Learned] = {
    "sft": Learned(
        "trl", "SFTTrainer", "SFTConfig", way_of_answers, grouped=True, penalized=True
    ),
    "text": Learned(
        "trl", "SFTTrainer", "SFTConfig", way_of_blocks, grouped=True, penalized=True
    ),
    "dpo": Learned("trl", "DPOTrainer", "DPOConfig", _preferences, refers=True),
    "kto": Learned(
        "trl",
        "KTOTrainer",
        "KTOConfig",
        _ratings,
        members=(KTO,),
        refers=True,
    ),
    "cpo": Learned("trl.experimental.cpo", "CPOTrainer", "CPOConfig", _alone, soft=False),
    "orpo": Learned(
        "trl.experimental.orpo", "ORPOTrainer", "ORPOConfig", _alone, members=(ORPO,), soft=False
    ),
    "reward": Learned(
        "trl", "RewardTrainer", "RewardConfig", way_of_scored, grouped=True, lengths="chosen_ids",
        soft=False, head=True,
    ),
    "classify": Learned(
        "transformers", "Trainer", "TrainingArguments", way_of_classes, grouped=True, soft=False,
        head=True,
    ),
}  # fmt: skip
"""By the name of an objective: what writes it."""
