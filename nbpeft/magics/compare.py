"""%peft_compare: the same prompts to several adapters, side by side."""

from __future__ import annotations

from nbpeft import api
from nbpeft.comparison import Comparison
from nbpeft.magics.help import compare_help
from nbpeft.typed import read_prompts, split_line

FLAGS = frozenset({"sample", "think"})
TEXTS = frozenset({"model", "tokenizer", "data", "rows", "system"})


def peft_compare(line: str, cell: str | None = None) -> Comparison:
    words, names = split_line(line, flags=FLAGS, texts=TEXTS)
    return api.compare(names, None if cell is None else read_prompts(cell), **words)


peft_compare.__doc__ = compare_help()
