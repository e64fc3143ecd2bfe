"""What a comparison can be asked for: its options, declared once for magic, help and Python."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbpeft.coerce import coerce
from nbpeft.errors import RequestError, quoted
from nbpeft.request import option
from nbpeft.typed import known_words

Prompt = str | list[dict[str, Any]]
"""A text, or a chat: messages of {role, content}."""


@dataclass(frozen=True)
class CompareRequest:
    """How prompts are found and answered. The fields are the words that users type."""

    max_new_tokens: int = option("of each answer (default: 64)", 64, shown="N")
    sample: bool = option(
        "sample by the model's own generation_config (temperature, top_p, …) instead of taking "
        "the likeliest token; every column under the same seed",
        False,
    )
    seed: int = option("of --sample (default: 42)", 42, shown="N")
    data: str | None = option(
        "prompts are rows of this data (whatever %%finetune takes), their answers stand beside",
        shown="X",
    )
    columns: dict[str, str] | None = option(
        "which column of the data is which: prompt=question,completion=answer", shown="A=B,…"
    )
    rows: list[int] | None = option("these rows of the data, counted from 0", shown="N,N,…")
    count: int | None = option("the first N rows of the data (default: 8)", shown="N")
    shots: int | None = option(
        "a column more: the base with N training examples before each prompt, from the data given, "
        "else from what the first adapter was trained on",
        shown="N",
    )
    system: str | None = option("a column more: the base with this system prompt", shown="TEXT")
    think: bool = option(
        "a column more: the base asked to reason step by step, and to answer after 'Answer:'", False
    )
    model: str | None = option(
        "the model's variable; needed only when there are several", shown="X"
    )
    tokenizer: str | None = option("the tokenizer's variable; likewise", shown="X")

    def __post_init__(self) -> None:
        for word in ("max_new_tokens", "count", "shots"):
            if getattr(self, word) is not None and getattr(self, word) < 1:
                raise RequestError(f"{word} must be at least 1, not {getattr(self, word)}.")
        if self.system is not None and not self.system.strip():
            raise RequestError('system is empty; type --system "You are …", or leave it out.')
        if self.rows is not None and self.count is not None:
            raise RequestError("rows and count say the same thing; give one of them.")

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> CompareRequest:
        """From typed words; those that are None count as not given. RequestError says what isn't.

        Args:
            words: word -> value, as a line or Python gives it; `rows` also as the text '0,5,9'.
        """
        known_words(words, [o.name for o in compare_options()], "%%peft_compare")
        given = {word: value for word, value in words.items() if value is not None}
        if isinstance(given.get("rows"), str | int):
            given["rows"] = numbers(str(given["rows"]))
        hints = typing.get_type_hints(cls)
        return cls(**{word: coerce(word, value, hints[word]) for word, value in given.items()})


def compare_options() -> tuple[dataclasses.Field[Any], ...]:
    """The declared options, in the order of the help."""
    return dataclasses.fields(CompareRequest)


def numbers(text: str) -> list[int]:
    """Rows as they are typed, '0,5,9'; RequestError for anything else."""
    try:
        return [int(part) for part in text.strip("[]").split(",")]
    except ValueError:
        raise RequestError(
            f"rows can't be {quoted(text)}: it must be numbers from 0 with commas, 0,5,9."
        ) from None
