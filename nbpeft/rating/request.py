"""What can be asked of a rating: its options, declared once for magic, help and Python."""

from __future__ import annotations

import dataclasses
import keyword
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbpeft.coerce import coerce
from nbpeft.comparison.request import numbers
from nbpeft.errors import RequestError, listed, quoted
from nbpeft.request import option, typed
from nbpeft.session.names import LONGEST
from nbpeft.typed import known_words

MAGIC = "%%peft_rate"
FEWEST, MOST = 2, 6
"""Answers of a prompt that are ranked."""
ROWS = 50
"""Rows of the data that are asked, unless it is said how many or which."""
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class RateRequest:
    """What is rated, how, and where it is kept. The fields are the words that users type."""

    names: tuple[str, ...] = field(
        default=(), metadata={"help": "who answers", "shown": "NAME", "setting": False}
    )
    into: str = option(
        "the variable that what is rated grows in, and its file ratings/NAME.jsonl beside the "
        "adapters",
        "ratings",
        shown="NAME",
    )
    answers: int | None = option(
        "answers of a prompt to rank, 2 to 6 (default: one a name, or 2 of a lone one); where "
        "there are more names, each prompt draws its own",
        shown="N",
    )
    mark: bool = option("one answer at a time, to mark from 1 to 5", False)
    data: str | None = option(
        "prompts are rows of this data (whatever %%finetune takes)", shown="X"
    )
    columns: dict[str, str] | None = option(
        "which column of the data is which: prompt=question,completion=answer", shown="A=B,…"
    )
    rows: list[int] | None = option("these rows of the data, counted from 0", shown="N,N,…")
    count: int | None = option(f"the first N rows of the data (default: {ROWS})", shown="N")
    max_new_tokens: int = option("of each answer (default: 64)", 64, shown="N")
    sample: bool = option(
        "sample by the model's own generation_config instead of taking the likeliest token; "
        "several answers of a lone name are always sampled",
        False,
    )
    seed: int = option("of the order and of what is sampled (default: 42)", 42, shown="N")
    model: str | None = option(
        "the model's variable; needed only when there are several", shown="X"
    )
    tokenizer: str | None = option("the tokenizer's variable; likewise", shown="X")

    def __post_init__(self) -> None:
        for word in ("max_new_tokens", "count"):
            if getattr(self, word) is not None and getattr(self, word) < 1:
                raise RequestError(f"{word} must be at least 1, not {getattr(self, word)}.")
        if self.rows is not None and self.count is not None:
            raise RequestError("rows and count say the same thing; give one of them.")
        if self.answers is not None and self.mark:
            raise RequestError("--mark is about one answer at a time; leave --answers out.")
        if self.answers is not None and not FEWEST <= self.answers <= MOST:
            raise RequestError(
                f"answers can't be {self.answers}: {FEWEST} to {MOST} are ranked; one at a time "
                "is marked from 1 to 5, with --mark."
            )
        if self.answers is not None and 1 < len(self.names) < self.answers:
            raise RequestError(
                f"answers can't be {self.answers}: each of {listed(self.names)} gives one; name "
                "more, or one alone, which is sampled several times."
            )
        _check_variable(self.into)

    @classmethod
    def of(cls, names: Sequence[str], words: Mapping[str, Any]) -> RateRequest:
        """From names and typed words; those that are None count as not given.

        Args:
            words: word -> value, as a line or Python gives it; `rows` also as the text '0,5,9'.

        Raises:
            RequestError: a word that isn't known, or a value that can't be.
        """
        known_words(words, [typed(o.name) for o in rate_options()], MAGIC)
        given = {word: value for word, value in words.items() if value is not None}
        if isinstance(given.get("rows"), str | int):
            given["rows"] = numbers(str(given["rows"]))
        hints = typing.get_type_hints(cls)
        known = {word: coerce(word, value, hints[word]) for word, value in given.items()}
        return cls(names=tuple(dict.fromkeys(names)), **known)


def rate_options() -> tuple[dataclasses.Field[Any], ...]:
    """The declared options, in the order of the help; names stand without a flag."""
    return tuple(f for f in dataclasses.fields(RateRequest) if f.name != "names")


def _check_variable(name: str) -> None:
    """A name for a variable and for a file: no path leads out of the folder."""
    if not _VARIABLE.fullmatch(name) or keyword.iskeyword(name) or len(name) > LONGEST:
        raise RequestError(
            f"into can't be {quoted(name)}: it names a variable and a file, so letters, digits "
            f"and _ are wanted, a letter first, at most {LONGEST}."
        )
