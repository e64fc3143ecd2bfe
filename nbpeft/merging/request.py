"""What a merge can be asked for: its options, declared once for magic, help and Python."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nbpeft.coerce import coerce
from nbpeft.errors import RequestError
from nbpeft.request import option
from nbpeft.session.session import BASE_WORDS
from nbpeft.typed import known_words

MAGIC = "%peft_merge"
Into = Literal["originals", "nf4", "fp4", "int8"]
"""The weights that are merged into: those of the model as loaded, or quantized ones."""


@dataclass(frozen=True)
class MergeRequest:
    """One call of `%peft_merge`. The fields are the words that users type."""

    name: str = field(metadata={"help": "which adapter", "shown": "NAME"})
    to: str = option("the folder to write the model into; new, or empty", "", shown="PATH")
    into: Into = option(
        "originals, the weights as loaded, also for an adapter that was trained on 4 or 8 bits; "
        "or nf4, fp4, int8: the merged model quantized, or, where the originals are gone, the "
        "quantized weights that it was trained on",
        "originals",
        shown="WEIGHTS",
    )
    model: str | None = option("which model, when there are several", shown="X")
    tokenizer: str | None = option(
        "the tokenizer to save beside, when there are several", shown="X"
    )

    @classmethod
    def of(cls, names: list[str], words: Mapping[str, Any]) -> MergeRequest:
        """From typed words; those that are None count as not given. RequestError says what isn't.

        Args:
            names: what stands beside the flags.
            words: word -> value, as a line or Python gives it.
        """
        known_words(words, [o.name for o in merge_options()], MAGIC)
        hints = typing.get_type_hints(cls)
        given = {w: coerce(w, v, hints[w]) for w, v in words.items() if v is not None}
        if len(names) != 1:
            raise RequestError(
                f"{MAGIC} wants one NAME, {len(names)} were given; a+b, without spaces, is a sum."
            )
        if names[0] in BASE_WORDS:
            raise RequestError(
                "The base has no adapter to merge; model.save_pretrained(PATH) writes it."
            )
        if not given.get("to"):
            raise RequestError(f"{MAGIC} wants a folder to write into: --to PATH.")
        return cls(names[0], **given)


def merge_options() -> tuple[dataclasses.Field[Any], ...]:
    """The declared options, in the order of the help."""
    return tuple(f for f in dataclasses.fields(MergeRequest) if f.name != "name")
