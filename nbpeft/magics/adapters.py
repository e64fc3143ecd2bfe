"""%peft_adapters: what there is to attach and compare."""

from __future__ import annotations

from nbpeft import api
from nbpeft.errors import RequestError, listed
from nbpeft.listing.adapters import Adapters
from nbpeft.listing.one import Description
from nbpeft.typed import known_words, split_line

TEXTS = frozenset({"model", "tokenizer"})


def peft_adapters(line: str) -> Adapters | Description:
    """List the adapters: on the shelf, in this kernel, and your own PeftModel's.

    %peft_adapters               all of them
    %peft_adapters NAME          one: how it was made, its settings, and of a soft prompt the
                                 real tokens nearest to each virtual one
    --model X, --tokenizer X     whose, when there are several
    """
    words, names = split_line(line, texts=TEXTS)
    known_words(words, TEXTS, "%peft_adapters")
    if len(names) > 1:
        raise RequestError(
            f"%peft_adapters takes one NAME or none; given were {listed(names, limit=4)}."
        )
    return api.describe(names[0], **words) if names else api.adapters()
