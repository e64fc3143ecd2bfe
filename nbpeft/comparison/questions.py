"""Where the prompts of a comparison come from: given as they are, or rows of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nbpeft import data as data_
from nbpeft.comparison.request import CompareRequest, Prompt
from nbpeft.errors import RequestError

ROWS = 8
"""Rows of the data that are asked, unless it is said how many or which."""


def questions(
    request: CompareRequest, given: Sequence[Prompt] | None, data: Any, namespace: Mapping[str, Any]
) -> tuple[list[Prompt] | None, list[str] | None]:
    """(prompts, the answers that are expected); None where nobody gave any.

    Args:
        given: prompts as they were typed.
        data: rows that have no name, else those that the request names. Beside given prompts they
            are those that shots are of.
        namespace: the user's variables.

    Raises:
        DataError: the data can't be read, or has no such row.
        RequestError: prompts and data, or options of data without any.
    """
    data = request.data if data is None else data
    if data is None:
        for word in ("columns", "rows", "count"):
            if getattr(request, word) is not None:
                raise RequestError(f"{word} is about data, and there is none: add --data X.")
        return (None if given is None else list(given)), None
    if given is not None:
        _check_for_shots(request)
        return list(given), None
    source = data_.read(data, namespace)
    count = min(request.count or ROWS, len(source.dataset))
    rows = request.rows if request.rows is not None else range(count)
    pairs = data_.prompts(source, rows, columns=request.columns)
    return [prompt for prompt, _ in pairs], [answer for _, answer in pairs]


def _check_for_shots(request: CompareRequest) -> None:
    """Refuse data beside prompts, unless shots are to be of it."""
    if request.shots is None:
        raise RequestError("Prompts are given and --data as well; keep one of them.")
    for word in ("rows", "count"):
        if getattr(request, word) is not None:
            raise RequestError(
                f"{word} says which rows are asked, and prompts are given; keep one of them."
            )
