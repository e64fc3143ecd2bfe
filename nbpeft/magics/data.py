"""%peft_data: look at data as a run would train on it, or write it for a hosted service."""

from __future__ import annotations

from nbpeft import api
from nbpeft.data.hosting import Exported, ExportRequest
from nbpeft.data.looking.look import Look
from nbpeft.errors import RequestError, listed, quoted
from nbpeft.typed import known_words, split_line

FLAGS = {
    "columns", "eval", "max_length", "loss_on", "objective", "rows", "model", "tokenizer", "to",
}  # fmt: skip
TEXTS = frozenset({"objective", "rows", "model", "tokenizer", "to"})


def peft_data(line: str) -> Look | Exported:
    """Show what a run would train on: format, lengths, and three rows token by token.

    %peft_data X                 the data, given as to %%finetune --data
    %peft_data X --to S PATH     write chats or preferences as a hosted service S takes them
    --columns A=B,…              which column is which
    --eval X                     rows to hold out: which of them are trained on, too?
    --max-length N               tokens a row, the rest is cut (default: as in a run)
    --loss-on all|answers|last   which tokens are trained (default: answers)
    --objective OBJECTIVE        read the rows as this one does: preferences for dpo (default: sft)
    --rows 0,5,9                 the rows to show, counted from 0
    --to openai|vertex           which service; every row is checked, none is left out
    --model X, --tokenizer X     which ones, when there are several
    """
    words, names = split_line(line, texts=TEXTS)
    if "to" in words:
        return api.execute_export(ExportRequest.of(names, words))
    known_words(words, FLAGS, "%peft_data")
    if len(names) != 1:
        raise RequestError(
            "%peft_data wants one X: a variable, a path, tiny:NAME or hub:owner/name; given were "
            f"{listed(map(quoted, names), limit=4)}."
        )
    if "rows" in words:
        words["rows"] = _numbers(words["rows"])
    return api.look(names[0], **words)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise RequestError(
            f"rows can't be {quoted(text)}: numbers with commas between are wanted, --rows 0,5,9."
        ) from None
