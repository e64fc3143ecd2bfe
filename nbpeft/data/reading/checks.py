"""Rows that can't be trained on are refused before anything is tokenized, by row and column.

Columns of strings are checked by Arrow in pieces, at millions of rows a second; other columns are
looked at row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.shapes import CHAT, REST, Cell, Reading
from nbpeft.errors import DataError, quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

ROWS_AT_ONCE = 10_000


def check_rows(
    dataset: Dataset, reading: Reading, label: str, numbers: Sequence[int] | None = None
) -> None:
    """Refuse the first row that can't be trained on.

    Rows are counted from 0, in the order of `dataset`; `numbers` says what the user knows them by
    where they are a choice of a larger data set.

    Raises:
        DataError: no rows at all; or a cell is missing, empty, or neither a string nor a chat as
            the format wants; or a chat has no answer in it.
    """
    if not len(dataset):
        raise DataError(f"{quoted(label)} has no rows.")
    used = dataset.select_columns(list(dict.fromkeys(reading.columns.values())))
    tables = used.with_format("arrow")
    for start in range(0, len(dataset), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(dataset))
        if _all_strings(tables[start:stop], reading):
            continue
        batch = used[start:stop]
        for offset in range(stop - start):
            row = {ours: batch[theirs][offset] for ours, theirs in reading.columns.items()}
            number = start + offset
            _check_row(row, reading, number if numbers is None else numbers[number], label)


def _all_strings(table: pa.Table, reading: Reading) -> bool:
    """Whether every cell is a string with something in it, and no more need be looked at."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if reading.format.problem:
        return False
    for ours, theirs in reading.columns.items():
        column = table[theirs]
        cell = reading.format.columns[ours]
        is_string = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if not (cell.string and is_string):
            return False
        if cell.optional:
            continue
        if column.null_count:
            return False
        if not pc.all(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)).as_py():
            return False
    return True


def _check_row(row: Mapping[str, Any], reading: Reading, number: int, label: str) -> None:
    kinds: set[type] = set()
    cells = dict(row)
    for ours, raw in row.items():
        cell = reading.format.columns[ours]
        if cell.optional and raw in (None, ""):
            continue
        try:
            value = reading.cell(ours, raw)
            problem = _problem(value, cell)
        except ValueError as error:
            value, problem = raw, str(error)
        if problem:
            raise _refusal(number, label, reading.columns[ours], problem)
        cells[ours] = value
        kinds.add(type(value))
    if len(kinds) > 1 and not reading.format.mixed:
        raise DataError(
            f"Row {number} of {quoted(label)}: {' and '.join(reading.columns.values())} must be "
            "both strings or both chats."
        )
    if reading.format.problem is None:
        return
    found = reading.format.problem(reading.format.example({REST: {}} | cells))
    if found:
        raise _refusal(number, label, reading.columns[found[0]], found[1])


def _refusal(number: int, label: str, column: str, problem: str) -> DataError:
    return DataError(f"Row {number} of {quoted(label)}, column {quoted(column)}: {problem}.")


def _problem(value: object, cell: Cell) -> str | None:
    """What is wrong with a cell, and what to do about it; None when it's good."""
    if value is None:
        return "it is missing; fill it in or drop the row"
    if cell.values is not None:
        return None
    if isinstance(value, str):
        if not cell.string:
            return f"it is a string, {quoted(value)}; wanted is {cell.wants}"
        return None if value.strip() else "it is empty; fill it in or drop the row"
    if isinstance(value, list) and cell.chat:
        return _chat_problem(value, cell)
    return f"it is of type {type(value).__name__}, {quoted(value)}; wanted is {cell.wants}"


def _chat_problem(messages: list[Any], cell: Cell) -> str | None:
    if not messages:
        return "the chat is empty; fill it in or drop the row"
    for place, message in enumerate(messages):
        problem = _message_problem(message)
        if problem:
            return f"message {place} {problem}"
    if not cell.answer:
        return None
    first = 0 if cell.alone else 1
    if not any(message["role"] == "assistant" for message in messages[first:]):
        opens = messages[0]["role"] == "assistant"
        return (
            "nobody asks before the assistant's only message, so it answers nothing"
            if opens
            else "no message has the role assistant, so there is no answer to train on"
        )
    return None


def _message_problem(message: object) -> str | None:
    """What is wrong with one message of a chat; None when it's good."""
    if not isinstance(message, Mapping):
        return f"is of type {type(message).__name__}, {quoted(message)}; wanted is {CHAT}"
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role:
        return "has no role; give it one of system, user, assistant"
    if role == "assistant" and content is None and message.get("tool_calls"):
        return None  # the answer is the call
    if content is None:
        return f"(role {role}) has no content"
    if not isinstance(content, str):
        return f"(role {role}) has content of type {type(content).__name__}, not a string"
    if not content.strip() and role != "system":  # an empty system message is common and harmless
        return f"(role {role}) has an empty content"
    return None
