"""From rows to a file that a hosted service takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nbpeft.data.finding.sources import Source
from nbpeft.data.hosting import file
from nbpeft.data.hosting.lines import lines_of
from nbpeft.data.hosting.openai import OPENAI
from nbpeft.data.hosting.request import Hosted
from nbpeft.data.hosting.result import Exported
from nbpeft.data.hosting.vertex import VERTEX
from nbpeft.errors import DataError, RowsError, quoted
from nbpeft.rendering import bytes_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SERVICES = {service.name: service for service in (OPENAI, VERTEX)}
"""A new one is an entry here, a module beside this one, and a word in `Hosted`."""


def export(
    source: Source,
    path: str,
    to: Hosted,
    *,
    columns: Mapping[str, str] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Exported:
    """Write rows as a service's fine-tuning takes them; all of them, or nothing.

    Args:
        path: of a file that isn't there yet, NAME.jsonl.
        columns: a format's column name to the user's.
        tokenizer: counts the tokens of rows that may be too long; None: by their characters.

    Raises:
        RequestError: no file can be put there.
        DataError: the rows are neither chats nor preferences, too few, or too large a file.
        RowsError: rows that the service wouldn't take; it has them all.
        RunError: the file can't be written; nothing is left of it.
    """
    service, place = SERVICES[to], file.free(path)
    lines = lines_of(source, columns, service, tokenizer)
    against = f"as documented on {service.checked} ({lines.kind.page})"
    if lines.problems:
        wrong = len({number for number, _ in lines.problems})
        raise RowsError(
            f"{wrong:,} of {len(source.dataset):,} rows of {quoted(source.label)} are not as "
            f"{service.title} takes {lines.kind.name}, {against}, beginning with row "
            f"{lines.problems[0][0]}; nothing is written: mend these rows, or drop them.",
            lines.problems,
        )
    size = sum(len(text.encode()) + 1 for text in lines.texts)
    has = f"{quoted(source.label)} has {len(lines.texts):,} rows, {bytes_size(size)} as lines"
    if len(lines.texts) < service.fewest:
        raise DataError(f"{has}; {service.title} wants {service.fewest} or more, {against}.")
    if size > service.most_bytes:
        most = bytes_size(service.most_bytes)
        raise DataError(f"{has}; {service.title} takes files of {most} at most, {against}.")
    size = file.put(place, lines.texts, lines.kind)
    return Exported(
        label=source.label,
        path=place,
        service=service.title,
        kind=lines.kind.name,
        checked=service.checked,
        page=lines.kind.page,
        rows=len(lines.texts),
        tokens=lines.tokens,
        size=size,
        notes=(*source.notes, *lines.notes, *service.notes),
    )
