"""LoRA adapters combined into one: PEFT's `add_weighted_adapter`, by way of its files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn

from nbpeft.guard import Guard
from nbpeft.mounts import modules
from nbpeft.quiet import quiet


def build(
    root: nn.Module, folders: Sequence[Path], weights: Sequence[float], how: Mapping[str, Any]
) -> modules.ModulesMount:
    """A plain LoRA over the bare `root`, made of those in the folders.

    Args:
        weights: one for each; their changes to the base's weights are scaled by it.
        how: other arguments of `add_weighted_adapter`, `combination_type` among them.

    Raises:
        ValueError: PEFT can't combine them this way.
    """
    with tempfile.TemporaryDirectory(prefix="nbpeft-") as temporary:
        with Guard(root), quiet():
            model: Any = _together(root, folders)
            parts = list(model.peft_config)
            model.add_weighted_adapter(parts, list(weights), "combined", **how)
            model.save_pretrained(
                temporary, selected_adapters=["combined"], save_embedding_layers=False
            )
        folder = Path(temporary) / "combined"
        _scale_by_one(folder)
        return modules.build(root, modules.stored(folder))


def _together(root: nn.Module, folders: Sequence[Path]) -> PeftModel:
    model = PeftModel.from_pretrained(
        root, str(folders[0]), adapter_name="part0", use_safetensors=True
    )
    for number, folder in enumerate(folders[1:], 1):
        model.load_adapter(str(folder), f"part{number}", use_safetensors=True)
    return model


def _scale_by_one(folder: Path) -> None:
    """Leave out what an rsLoRA would scale by once more.

    PEFT has put the parts' scaling into the matrices, and sets alpha to the rank for that.
    """
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": False}, indent=1))
