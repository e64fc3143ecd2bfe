"""%peft_adapters: what there is to attach and compare."""

from __future__ import annotations

from nbpeft import api
from nbpeft.errors import RequestError
from nbpeft.listing import Adapters


def peft_adapters(line: str) -> Adapters:
    """List the adapters: on the shelf, in this kernel, and your own PeftModel's."""
    if line.strip():
        raise RequestError("%peft_adapters takes nothing after it.")
    return api.adapters()
