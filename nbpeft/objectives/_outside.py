"""What isn't learned, and whether it stays as it was: its loss before a run and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbpeft.data import Rows
    from nbpeft.feedback import Surroundings

MOST = 64
"""Rows that are read."""
AT_ONCE = 32


def rows_outside(around: Surroundings) -> Rows | None:
    """The rows that `--outside` names; None where it names none."""
    if around.request.outside is None:
        return None
    from nbpeft import data

    return data.tokenize(
        data.read_mix(around.request.outside, around.variables),
        around.tokenizer,
        eval=0,
        max_length=around.settings["max_length"],
    )


def outside_rows(trainer: Any, kept: Rows | None) -> list[dict[str, Any]]:
    """The rows that were named; else, where rows are prompts, the text of these.

    That isn't trained. Those that are held out, where there are any.
    """
    if kept is not None:
        few = kept.train.select(range(min(MOST, len(kept.train))))
        return [{k: list(row[k]) for k in ("input_ids", "labels")} for row in few]
    if not trainer.asks:
        return []
    rows = trainer.train_dataset if trainer.eval_dataset is None else trainer.eval_dataset
    few = rows.select(range(min(MOST, len(rows))))
    return [
        {"input_ids": list(ids), "labels": [-100, *ids[1:]]}
        for ids in few["input_ids"]
        if len(ids) > 1
    ]


def loss_on(trainer: Any, rows: Sequence[dict[str, Any]]) -> float:
    """The model's mean loss on the labels of some rows, nats a token, as it is now."""
    import torch

    from nbpeft.objectives._rollouts import writing
    from nbpeft.seam.probe import moved

    total, tokens = 0.0, 0
    with writing(trainer.model), torch.no_grad():
        for start in range(0, len(rows), AT_ONCE):
            batch = moved(trainer.layout(rows[start : start + AT_ONCE]), trainer.args.device)
            with trainer.scorer.over(batch), trainer.accelerator.autocast():
                scores = trainer.scorer.scores(batch)
            total, tokens = total - float(scores.sum()), tokens + len(scores)
    return total / max(1, tokens)
