"""What an export can be asked for: declared once for magic, help and Python."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nbpeft.coerce import coerce
from nbpeft.errors import RequestError
from nbpeft.request import option
from nbpeft.typed import known_words

MAGIC = "%peft_data --to"
Hosted = Literal["openai", "vertex"]
"""The services that data can be written for."""


@dataclass(frozen=True)
class ExportRequest:
    """One export of data. The fields are the words that users type."""

    data: str | None = field(metadata={"help": "which rows", "shown": "X"})
    path: str = field(metadata={"help": "the file to write, NAME.jsonl", "shown": "PATH"})
    to: Hosted = option("which service", "openai", shown="openai|vertex")
    columns: dict[str, str] | None = option("which column is which", shown="A=B,…")
    tokenizer: str | None = option("counts the tokens of long rows", shown="X")

    @classmethod
    def of(cls, names: Sequence[Any], words: Mapping[str, Any]) -> ExportRequest:
        """From typed words; those that are None count as not given. RequestError says what isn't.

        Args:
            names: X and PATH.
        """
        known_words(words, export_words(), MAGIC)
        hints = typing.get_type_hints(cls)
        given = {w: coerce(w, v, hints[w]) for w, v in words.items() if v is not None}
        if len(names) != 2 or not names[1]:
            raise RequestError(
                f"{MAGIC} wants data and a file, %peft_data X --to openai PATH, and {len(names)} "
                "names were given."
            )
        return cls(names[0], names[1], **given)


def export_words() -> list[str]:
    """The words beside X and PATH."""
    return [f.name for f in dataclasses.fields(ExportRequest) if f.name not in ("data", "path")]
