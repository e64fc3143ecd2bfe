"""What a call was given: names, and objects."""

from __future__ import annotations

from typing import Any


def sorted_out(**given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what names something or is a plain value, what is a live object)."""
    named, live = {}, {}
    for word, value in given.items():
        if isinstance(value, str | int | float):
            named[word] = value
        elif value is not None:
            live[word] = value
    return named, live
