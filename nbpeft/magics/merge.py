"""%peft_merge: a whole model as a folder, with an adapter in its weights."""

from __future__ import annotations

from nbpeft import api
from nbpeft.magics.help import merge_help
from nbpeft.merging import Merged, MergeRequest
from nbpeft.typed import split_line

TEXTS = frozenset({"to", "model", "tokenizer"})


def peft_merge(line: str) -> Merged:
    words, names = split_line(line, texts=TEXTS)
    return api.execute_merge(MergeRequest.of(names, words))


peft_merge.__doc__ = merge_help()
