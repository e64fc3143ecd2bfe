"""%peft_rate: answers rated by a person, blind, into data to train on."""

from __future__ import annotations

from nbpeft import api
from nbpeft.magics.help import rate_help
from nbpeft.rating import Rating
from nbpeft.typed import read_prompts, split_line

FLAGS = frozenset({"sample", "mark"})
TEXTS = frozenset({"model", "tokenizer", "data", "rows", "into"})


def peft_rate(line: str, cell: str | None = None) -> Rating:
    words, names = split_line(line, flags=FLAGS, texts=TEXTS)
    return api.rate(names, None if cell is None else read_prompts(cell), **words)


peft_rate.__doc__ = rate_help()
