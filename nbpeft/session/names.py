"""What an adapter may be called, and how NAME@VERSION is read."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nbpeft.errors import AdapterError, quoted

LONGEST = 64
MOST_DIGITS = 9
HUB = "hub:"
"""What an address on the Hugging Face hub begins with."""
RESERVED = ("base", "none")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_name(name: str) -> str:
    """The name itself, when it may name an adapter (and so a folder); AdapterError otherwise.

    Letters, digits, `_`, `-` and `.`, at most 64 of them, so that it is a folder name on every
    system and can't lead out of the shelf.
    """
    problem = None
    if len(name) > LONGEST:
        problem = f"has {len(name)} characters, {LONGEST} is the most"
    elif name.lower() in RESERVED:
        problem = "is kept for the model without an adapter"
    elif not _NAME.fullmatch(name) or ".." in name or name.endswith("."):
        problem = "must be letters, digits, _, - and ., with no - or . first, no . last, no '..'"
    if problem:
        raise AdapterError(f"An adapter can't be called {quoted(name)}: it {problem}.")
    return name


def split_label(label: str) -> tuple[str, int | None]:
    """'pirate' -> ('pirate', None), 'pirate@2' -> ('pirate', 2)."""
    name, at, version = label.partition("@")
    if at and not (version.isdecimal() and len(version) <= MOST_DIGITS):
        raise AdapterError(
            f"{quoted(label)} names no version: type NAME or NAME@1, a number after the @."
        )
    return check_name(name), int(version) if at else None


def relabelled(label: str, names: Mapping[str, str]) -> str:
    """A label with the new names of adapters in place of the old, in sums and cuts, too.

    'pirate@2+poet@1' -> 'corsair@2+poet@1'; the 4 of 'pirate@3:4' is a rank, and no name.
    """
    return "+".join(
        re.sub(r"^[^@:]+", lambda found: names.get(found[0], found[0]), part)
        for part in label.split("+")
    )
