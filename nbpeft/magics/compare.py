"""%peft_compare: the same prompts to several adapters, side by side."""

from __future__ import annotations

from nbpeft import api
from nbpeft.comparison import Comparison
from nbpeft.typed import known_words, read_prompts, split_line

FLAGS = {"model", "tokenizer", "max_new_tokens"}


def peft_compare(line: str, cell: str | None = None) -> Comparison:
    """Put the same prompts to several adapters, and show the answers side by side.

    %%peft_compare base NAME …   a prompt a line below, or a YAML list for long ones and chats
    %peft_compare [base NAME …]  a few prompts from the adapter's own data
    Without names: the base and every adapter of this model.
    --max-new-tokens N           of each answer (default: 64)
    --model X, --tokenizer X     which ones, when there are several
    """
    words, names = split_line(line)
    known_words(words, FLAGS, "%%peft_compare")
    return api.compare(names, None if cell is None else read_prompts(cell), **words)
