"""%peft_adapters: what there is to attach and compare."""

from __future__ import annotations

from nbpeft import api
from nbpeft.errors import RequestError
from nbpeft.listing import Adapters
from nbpeft.typed import known_words, split_line


def peft_adapters(line: str) -> Adapters:
    """List the adapters: on the shelf, in this kernel, and your own PeftModel's."""
    words, names = split_line(line)
    known_words(words, (), "%peft_adapters")
    if names:
        raise RequestError("%peft_adapters takes nothing after it.")
    return api.adapters()
