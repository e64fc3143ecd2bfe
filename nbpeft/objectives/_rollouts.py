"""Answers sampled from the policy as it is, several to a prompt, and what they are worth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.feedback import Answered
from nbpeft.generating import end_ids, new_tokens
from nbpeft.objectives._policy import NUMBER

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Asked:
    """The rows of a batch of prompts; no list, so that no loader looks for tensors in it."""

    rows: Sequence[Mapping[str, Any]]


class Prompts:
    """A collator: rows of prompts stay as they are."""

    layout: Any = None
    """Of `nbpeft.seam.packing`, for their answers; what the trainer has chosen."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The rows; `labels` (rows,) says how many there are."""
        import torch

        return {"labels": torch.ones(len(rows), dtype=torch.long), "asked": Asked(list(rows))}


@dataclass(frozen=True)
class Writer:
    """A policy that answers prompts."""

    model: Any
    tokenizer: Any
    longest: int
    """Tokens that an answer may have."""
    each: int
    """Answers to a prompt, where they are sampled."""
    sampling: Mapping[str, Any]
    """Fields of generation_config."""

    def sampled(self, rows: Sequence[Mapping[str, Any]]) -> list[Answered]:
        """Several answers to each row's prompt, one prompt's after another's."""
        return self._answered(rows, self.each, do_sample=True, **self.sampling)

    def likeliest(self, rows: Sequence[Mapping[str, Any]]) -> list[Answered]:
        """The likeliest answer to each row's prompt, token by token."""
        return self._answered(rows, 1, do_sample=False)

    def ended(self, answer: Answered) -> bool:
        """Whether an answer came to its end."""
        return bool(answer.ids) and answer.ids[-1] in end_ids(self.model, self.tokenizer)

    def _answered(self, rows: Sequence[Mapping[str, Any]], each: int, **how: Any) -> list[Answered]:
        prompts = [list(row["input_ids"]) for row in rows for _ in range(each)]
        with writing(self.model):
            found = new_tokens(
                self.model, self.tokenizer, prompts, max_new_tokens=self.longest, **how
            )
        texts = self.tokenizer.batch_decode(found, skip_special_tokens=True)
        answers = []
        for number, (ids, text) in enumerate(zip(found, texts, strict=True)):
            prompt, beside = asked_of(rows[number // each])
            answers.append(Answered(prompt, text.strip(), prompts[number], ids, beside))
        return answers


def asked_of(row: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A row's prompt as the user has it, and its other columns."""
    return row["prompt"], {k: v for k, v in row.items() if k not in OWN}


OWN = ("input_ids", "prompt", NUMBER)
"""Columns that aren't handed to rewards."""


@contextlib.contextmanager
def writing(model: nn.Module) -> Iterator[None]:
    """Eval mode, without gradients; every module's mode as before after."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        # Not inference_mode: what a module caches meanwhile must still do for training.
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
