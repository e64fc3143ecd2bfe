"""EVA (Paischer et al. 2024, arXiv:2410.07170): LoRA that begins from the inputs of each layer.

PEFT takes the singular vectors of what goes into each layer while the model reads rows, and gives
more rank to layers whose inputs it explains better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbpeft.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel

ROWS = 256
"""Rows that are read at most, spread evenly; the decomposition settles after a few batches."""
IGNORED = -100


def batches(rows: Dataset, components: float) -> list[dict[str, Any]]:
    """Padded batches, each with enough trained tokens for so many components.

    A batch of fewer is passed over by PEFT, which would read on for ever. DataError where all the
    rows together have too few.
    """
    chosen = rows.select(range(0, len(rows), -(-len(rows) // ROWS)))
    groups: list[list[dict[str, Any]]] = [[]]
    tokens = 0
    for row in chosen:
        if tokens >= 2 * components:
            groups.append([])
            tokens = 0
        groups[-1].append(row)
        tokens += sum(label != IGNORED for label in row["labels"])
    if tokens < components:  # what is left over goes with the batch before it
        left = groups.pop()
        if not groups:
            raise DataError(
                f"init_lora_weights eva needs {components:.0f} trained tokens or more (rank times "
                f"rho), and the rows have {tokens}; give more rows or a smaller --rank."
            )
        groups[-1] += left
    return [_padded(group) for group in groups]


def explained(model: PeftModel, data: list[dict[str, Any]]) -> PeftModel:
    """The model with its LoRA begun from `data`, ranks given anew."""
    from peft import initialize_lora_eva_weights

    initialize_lora_eva_weights(model, data, show_progress_bar=False)
    return model


def _padded(group: list[dict[str, Any]]) -> dict[str, Any]:
    import torch

    width = max(len(row["input_ids"]) for row in group)

    def column(values: list[list[int]], pad: int) -> torch.Tensor:
        # PEFT picks inputs by the labels, place by place: an encoder-decoder's, which are of
        # another length, are made as long.
        return torch.tensor([[*v, *[pad] * width][:width] for v in values])

    return {
        "input_ids": column([row["input_ids"] for row in group], 0),
        "attention_mask": column([[1] * len(row["input_ids"]) for row in group], 0),
        "labels": column([row["labels"] for row in group], IGNORED),
    }
