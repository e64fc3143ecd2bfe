"""From rows to lines, and all that is wrong with them, by row."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbpeft.data.finding.sources import Source
from nbpeft.data.hosting.service import Kind, Line, Service, without_nothing
from nbpeft.data.reading.checks import check_rows
from nbpeft.data.reading.detect import choose
from nbpeft.data.reading.examples import Example, Pair, Preference, Text, as_chat, texts_of
from nbpeft.data.reading.feedback import PREFERENCES
from nbpeft.data.reading.formats import SFT
from nbpeft.data.reading.shapes import Reading
from nbpeft.errors import DataError, quoted

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

FORMATS = (*(name for name in SFT if name != "text"), *PREFERENCES)
"""What services train on: chats and preferences; none of them takes raw text."""
TOOLS = "tools"
"""The column that holds what tools a chat has, as in TRL."""
ENDS = "\x85\u2028\u2029"
"""Characters that end a line for some readers, and that JSON doesn't escape by itself."""
AT_ONCE = 1_000
CHARACTERS = 4
"""Of a token, in English, where no tokenizer is at hand."""


@dataclass
class Lines:
    """The lines of a file, in the order of the rows."""

    kind: Kind
    texts: list[str] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    """(number of the row from 0, what is wrong)."""
    notes: list[str] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """About how many, by their characters."""
        return sum(map(len, self.texts)) // CHARACTERS


def lines_of(
    source: Source,
    columns: Mapping[str, str] | None,
    service: Service,
    tokenizer: PreTrainedTokenizerBase | None,
) -> Lines:
    """All rows as lines.

    Args:
        columns: a format's column name to the user's.
        tokenizer: counts the tokens of rows that may be too long; None: by their characters.

    Raises:
        DataError: the rows are neither chats nor preferences, or there are none.
    """
    if not len(source.dataset):
        raise DataError(f"{quoted(source.label)} has no rows.")
    reading = choose(source.dataset, FORMATS, columns, source.label)
    preferences = reading.format.name in PREFERENCES
    lines = Lines(service.preferences if preferences else service.chats)
    lines.notes.append(reading.note([n for n in source.dataset.column_names if n != TOOLS]))
    untrained = 0
    for number, row, problem in _checked(source.dataset, reading, source.label):
        if problem:
            lines.problems.append((number, problem))
            continue
        example = reading.example(row)
        line = _line(example, _tools(row), service)
        found = [*_answers(example), *lines.kind.problems(line)]
        text = _on_one_line(line)
        found = found or _too_long(text, line, service, tokenizer)
        lines.problems += [(number, problem) for problem in found]
        lines.texts.append(text)
        untrained += not service.weighs and _has_untrained(example)
    if untrained:
        lines.notes.append(
            f"{untrained} rows have answers that are not to be trained; {service.title} trains all"
        )
    return lines


def _checked(
    dataset: Dataset, reading: Reading, label: str
) -> Iterator[tuple[int, Mapping[str, Any], str | None]]:
    """(number, row, what its cells are wrong with); row by row only where some row is wrong."""
    plain = dataset.with_format(None)
    for start in range(0, len(plain), AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, len(plain)))
        some = plain.select(numbers)
        whole = _problem(some, reading, label, numbers)
        for place, row in enumerate(some):
            own = some.select([place]) if whole else None
            number = numbers[place]
            yield number, row, own and _problem(own, reading, label, [number])


def _problem(dataset: Dataset, reading: Reading, label: str, numbers: Any) -> str | None:
    """What the check of rows says of the first that is wrong, without which row it is."""
    try:
        check_rows(dataset, reading, label, numbers)
    except DataError as error:
        said = str(error).removesuffix(".")
        return said.partition(f" of {quoted(label)}")[2].lstrip(",: ") or said
    return None


def _on_one_line(line: Line) -> str:
    """As JSON, in which no character ends a line for any reader."""
    text = json.dumps(line, ensure_ascii=False)
    for end in ENDS:
        text = text.replace(end, f"\\u{ord(end):04x}")
    return text


def _tools(row: Mapping[str, Any]) -> Any:
    """What a row says of its tools; a string that isn't JSON stays one, for the check to name."""
    tools = row.get(TOOLS)
    if isinstance(tools, str):
        with contextlib.suppress(ValueError):
            return json.loads(tools or "null")
    return without_nothing(tools)


def _line(example: Example, tools: Any, service: Service) -> Line:
    if isinstance(example, Preference):
        return service.preference_line(example, tools)
    (written,) = texts_of(example)
    assert not isinstance(written, Text)  # none of FORMATS is raw text
    return service.chat_line(as_chat(written) if isinstance(written, Pair) else written, tools)


def _answers(example: Example) -> Iterator[str]:
    """An answer that is judged is one turn, for every service."""
    if isinstance(example, Preference):
        for name, said in (("chosen", example.chosen), ("rejected", example.rejected)):
            if not isinstance(said, str) and len(said) != 1:
                yield f"{name} holds {len(said)} messages beside the prompt, not one answer"


def _has_untrained(example: Example) -> bool:
    (first, *_) = texts_of(example)
    if isinstance(first, Pair | Text):
        return False
    early = first.messages[: first.answers_from]
    return any(message["role"] == "assistant" for message in early) or any(
        message.get("weight") == 0 for message in first.messages
    )


def _too_long(
    text: str, line: Line, service: Service, tokenizer: PreTrainedTokenizerBase | None
) -> list[str]:
    """Rows over the limit; a token is a byte or more, so that few need to be counted."""
    if len(text.encode()) <= service.most_tokens:
        return []
    said = "\n".join(_strings(line))
    if tokenizer is None:
        tokens, by = len(said) // CHARACTERS, f"{CHARACTERS} characters each"
    else:
        tokens = len(tokenizer(said, add_special_tokens=False, verbose=False)["input_ids"])
        by = "by the tokenizer here"
    if tokens <= service.most_tokens:
        return []
    return [f"about {tokens:,} tokens ({by}) are over the {service.most_tokens:,} of a row"]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
