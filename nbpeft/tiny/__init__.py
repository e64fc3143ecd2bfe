"""A small chat model and data sets that ship with the package, so that everything runs offline.

`load_tiny()` gives the model and its tokenizer, `load_data("pirate")` a data set. What the model
is and isn't stands in README.md beside this file; `python -m nbpeft.tiny.pretrain` makes it all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["data_names", "load_data", "load_tiny"]

_HERE = Path(__file__).parent


def load_tiny(
    student: bool = False,
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The embedded chat model and its tokenizer, from the package's own files.

    Weights are float32 in memory, the model is in eval mode on the CPU. Reads no network, prints
    nothing, and leaves torch's random state and the progress bars' setting as they were.

    Args:
        student: the smaller of the two (0.5M parameters, not 1.4M), for distillation.

    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    folder = _HERE / ("student" if student else "default")
    bars = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    rng = torch.get_rng_state()
    try:
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    finally:
        torch.set_rng_state(rng)
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    return model.eval(), tokenizer


def data_names() -> tuple[str, ...]:
    """The data sets that `load_data` knows."""
    return tuple(sorted(path.stem for path in (_HERE / "data").glob("*.jsonl")))


def load_data(name: str) -> Dataset:
    """One of the package's data sets, such as "pirate"; its columns stand in README.md.

    Raises:
        nbpeft.errors.DataError: there is none of that name.

    """
    if name not in data_names():
        from nbpeft.errors import DataError, did_you_mean, listed, quoted

        raise DataError(
            f"nbpeft.tiny has no data set {quoted(name)}.{did_you_mean(name, data_names())} "
            f"It has: {listed(data_names())}."
        )
    import datasets

    text = (_HERE / "data" / f"{name}.jsonl").read_text(encoding="utf-8")
    return datasets.Dataset.from_list([json.loads(line) for line in text.splitlines()])
