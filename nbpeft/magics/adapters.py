"""%peft_adapters: what there is to attach and compare; another name for one, or its end."""

from __future__ import annotations

from typing import Any

from nbpeft import api
from nbpeft.errors import RequestError, listed
from nbpeft.listing.adapters import Adapters
from nbpeft.listing.one import Description
from nbpeft.typed import known_words, split_line

SHOWN = frozenset({"model", "tokenizer"})
CHANGED = frozenset({"rename", "delete"})


def peft_adapters(line: str) -> Adapters | Description | None:
    """List the adapters: on the shelf, in this kernel, and your own PeftModel's.

    %peft_adapters               all of them
    %peft_adapters NAME          one: how it was made, its settings, and of a soft prompt the
                                 real tokens nearest to each virtual one
    --rename NEW                 call NAME, with all its versions, NEW; what is attached stays so
    --delete                     delete NAME with all its versions, or NAME@VERSION alone
    --model X, --tokenizer X     whose, when there are several
    """
    words, names = split_line(line, flags=frozenset({"delete"}), texts=SHOWN | {"rename"})
    known_words(words, SHOWN | CHANGED, "%peft_adapters")
    if len(names) > 1:
        raise RequestError(
            f"%peft_adapters takes one NAME or none; given were {listed(names, limit=4)}."
        )
    if words.keys() & CHANGED:
        _change(names, words)
        return None
    return api.describe(names[0], **words) if names else api.adapters()


def _change(names: list[str], words: dict[str, Any]) -> None:
    """Rename or delete; RequestError where it isn't clear which, or what."""
    if len(words) > 1:
        raise RequestError("--rename NEW and --delete stand alone, each with one NAME.")
    if not names:
        raise RequestError(
            "Which adapter? Type %peft_adapters NAME --rename NEW, or %peft_adapters NAME --delete."
        )
    if "rename" in words:
        api.rename(names[0], words["rename"])
    else:
        _delete(names[0], words["delete"])


def _delete(name: str, said: Any) -> None:
    if said is not True:  # --delete=false
        raise RequestError("--delete takes no value: %peft_adapters NAME --delete.")
    api.delete(name)
