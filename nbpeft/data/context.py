"""A context as it is given: a text, or examples to go by (Brown et al. 2020, arXiv:2005.14165)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nbpeft.data.examples import Shot
from nbpeft.data.prompting import Way
from nbpeft.errors import RequestError, quoted

LABEL = "context"
"""What the column of a comparison is called after the base."""
GIVEN = "the context"


def context_of(given: str | Sequence[dict[str, Any]]) -> Way:
    """What a context puts around a prompt: a system prompt, or examples as turns before it.

    Args:
        given: a text, or a list of {prompt, completion}.

    Raises:
        RequestError: it is empty, or an example lacks one of the two.
    """
    if isinstance(given, str):
        if not given.strip():
            raise RequestError(
                "The context is empty: write below %%distill NAME what is to hold without being "
                "said, as in: Talk like a pirate."
            )
        return Way(LABEL, system=given.strip())
    if not given:
        raise RequestError(
            "The context is an empty list: give examples, each with a prompt and a completion."
        )
    return Way(LABEL, shots=tuple(_shot(number, row) for number, row in enumerate(given)))


def _shot(number: int, row: Any) -> Shot:
    given = row if isinstance(row, dict) else {}
    prompt, answer = given.get("prompt"), given.get("completion")
    if not isinstance(prompt, str) or not isinstance(answer, str) or not (prompt and answer):
        raise RequestError(
            f"Example {number} of the context is {quoted(row)}: it must have a prompt and a "
            "completion, both texts."
        )
    return Shot(prompt, answer, number, GIVEN)
