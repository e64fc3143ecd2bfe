"""What `%peft_score` can be asked for: its options, declared once for magic, help and Python."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbpeft.coerce import coerce
from nbpeft.errors import RequestError, listed
from nbpeft.request import option
from nbpeft.typed import known_words


@dataclass(frozen=True)
class ScoreRequest:
    """Whom to ask, and about what. The fields are the words that users type."""

    name: str = field(metadata={"help": "the adapter", "shown": "NAME", "setting": False})
    data: str | None = option("texts are rows of this data (whatever %%finetune takes)", shown="X")
    columns: dict[str, str] | None = option(
        "which column of the data is which: prompt=question,completion=answer", shown="A=B,…"
    )
    count: int | None = option("the first N rows of the data (default: all)", shown="N")
    pairwise: bool = option(
        "rows are pairs of answers (prompt, chosen, rejected), scored side by side", False
    )
    max_length: int | None = option(
        "tokens of a text, the rest is cut (default: as in training)", shown="N"
    )
    model: str | None = option(
        "the model's variable; needed only when there are several", shown="X"
    )
    tokenizer: str | None = option("the tokenizer's variable; likewise", shown="X")

    def __post_init__(self) -> None:
        for word in ("count", "max_length"):
            if getattr(self, word) is not None and getattr(self, word) < 1:
                raise RequestError(f"{word} must be at least 1, not {getattr(self, word)}.")

    @classmethod
    def of(cls, names: Sequence[str], words: Mapping[str, Any]) -> ScoreRequest:
        """From typed words; None counts as not given. RequestError says what is wrong."""
        known_words(words, [o.name for o in score_options()], "%%peft_score")
        if len(names) != 1:
            given = f"given were {listed(names, limit=4)}" if names else "none was given"
            raise RequestError(f"%%peft_score takes one NAME; {given}. %peft_adapters lists them.")
        given_words = {word: value for word, value in words.items() if value is not None}
        hints = typing.get_type_hints(cls)
        asked = {word: coerce(word, value, hints[word]) for word, value in given_words.items()}
        return cls(names[0], **asked)


def score_options() -> tuple[dataclasses.Field[Any], ...]:
    """The declared options, in the order of the help."""
    return tuple(o for o in dataclasses.fields(ScoreRequest) if o.name != "name")
