"""Rows that stand there twice: counted, and kept on one side of the split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.examples import (
    Chat,
    Example,
    Pair,
    Preference,
    Rating,
    as_messages,
    asked_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def keys_of(example: Example) -> tuple[int, int]:
    """(key, group) of an example: the group is the key of its prompt, where it has answers to one.

    Else the row is a group of its own, with its copies.
    """
    key, asked = key_of(example), asked_of(example)
    if asked is None:
        return key, key
    return key, key_of(Chat([*as_messages(asked, "user"), {"role": "assistant"}]))


def key_of(example: Example) -> int:
    """64 bits that two examples share exactly when the model would read the same.

    A prompt and its completion are those of a chat of two messages; what comes after the last
    answer isn't read.
    """
    return int.from_bytes(hashlib.blake2b(canonical(_as_read(example)), digest_size=8).digest())


def _as_read(example: Example) -> Example:
    if isinstance(example, Pair):
        asked = as_messages(example.prompt, "user")
        return Chat([*asked, *as_messages(example.completion, "assistant")])
    if isinstance(example, Preference):
        both = (as_messages(answer, "assistant") for answer in (example.chosen, example.rejected))
        return Preference(as_messages(example.prompt, "user"), *both)
    if isinstance(example, Rating):
        said = as_messages(example.completion, "assistant")
        return Rating(as_messages(example.prompt, "user"), said, example.good)
    if isinstance(example, Chat):
        last = max(i for i, m in enumerate(example.messages) if m["role"] == "assistant")
        return Chat(example.messages[: last + 1])
    return example


def canonical(example: Example) -> bytes:
    """An example as bytes that are the same however its rows were stored."""
    values = (
        asdict(example)
        if not isinstance(example, Chat)
        else [
            {key: value for key, value in message.items() if value is not None}
            for message in example.messages
        ]
    )
    return json.dumps(values, sort_keys=True, default=str).encode() + b"\n"


def copies(keys: NDArray[np.uint64]) -> int:
    """How many rows are a copy of another one before them."""
    import numpy as np

    return len(keys) - len(np.unique(keys))


def standing_in(keys: NDArray[np.uint64], others: NDArray[np.uint64]) -> int:
    """How many rows have a copy among others."""
    import numpy as np

    return int(np.isin(keys, others).sum())


def joined(keys: Sequence[Any]) -> NDArray[np.uint64]:
    """The keys of several parts in one array."""
    import numpy as np

    return np.concatenate([np.asarray(part, dtype=np.uint64) for part in keys])
