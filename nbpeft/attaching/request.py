"""What a model can be asked to answer as: the options, declared once for magic, help and Python."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbpeft.attaching.by_hand import chosen
from nbpeft.attaching.loading import is_address
from nbpeft.coerce import coerce
from nbpeft.errors import RequestError, quoted
from nbpeft.request import Quantize, option, typed
from nbpeft.session.derived import CUT, SUM
from nbpeft.session.names import check_name
from nbpeft.session.recipe import recipe_options
from nbpeft.session.session import BASE_WORDS
from nbpeft.typed import known_words

MAGIC = "%peft_attach"


@dataclass(frozen=True)
class AttachRequest:
    """One call of `%peft_attach`. The fields are the words that users type."""

    name: str | None = field(default=None, metadata={"help": "what is attached", "shown": "NAME"})
    none: bool = option("the base again, bit for bit", False)
    model: str | None = option("which model, when there are several", shown="X")
    tokenizer: str | None = option("which tokenizer, likewise", shown="X")
    method: str | None = option(
        "set up an untrained adapter called NAME, for your own loop or Trainer; every option of "
        "the method is a flag, or a key of the body",
        shown="METHOD",
    )
    quantize: Quantize | None = option(
        "with --method, or for what is loaded: the base in 4 or 8 bits, in place, while it is "
        "attached",
        shown="nf4|fp4|int8",
    )
    in_place: bool = option(
        "where the base must be quantized for it: for good, if the original weights can stay "
        "nowhere",
        False,
    )
    dry_run: bool = option("with --method: only count what would be trained", False)
    rank: int | None = option(
        "of an adapter trained with dylora: cut it to this rank (with --method: the rank)",
        shown="N",
    )
    as_: str | None = option(
        "keep what is loaded, combined or cut under this name in this kernel", shown="NAME"
    )
    words: Mapping[str, Any] = field(default_factory=dict, metadata={"help": ""})
    """The method's settings, or those of a combination."""

    @classmethod
    def of(cls, name: str | None, words: Mapping[str, Any]) -> AttachRequest:
        """From typed words; those that are None count as not given. RequestError says what isn't.

        Args:
            words: word -> value, as a line, a body or Python gives it.
        """
        given = {word: value for word, value in words.items() if value is not None}
        if "method" not in given:
            own = [typed(o.name) for o in (*attach_options(), *recipe_options())]
            known_words({typed(word): None for word in given}, own, MAGIC)
        hints = typing.get_type_hints(cls)
        # With a method the rank is one of its settings.
        mine = {o.name for o in attach_options()} - ({"rank"} if "method" in given else set())
        known = {w: coerce(typed(w), v, hints[w]) for w, v in given.items() if w in mine}
        request = cls(name, **known, words={w: v for w, v in given.items() if w not in mine})
        request._check()
        return request

    def _check(self) -> None:
        if (self.name is None) != self.none or self.name == "":
            raise RequestError(f"{MAGIC} wants one NAME, or --none for the base.")
        kind = self.kind
        if self.method is not None:  # a mistyped option should not end at "which model?"
            chosen(self.method, self.words)
        if self.dry_run and kind != "set up":
            raise RequestError(
                "--dry-run counts what a method would train; say which: --method lora."
            )
        if kind not in ("set up", "sum") and self.words:
            word = typed(next(iter(self.words)))
            raise RequestError(f"{word} says how adapters are combined: {MAGIC} a+b --{word} …")
        if self.quantize is not None and kind not in ("set up", "elsewhere"):
            raise RequestError(
                f"{quoted(self.name)} was trained on the base in a precision of its own, which the "
                "base is brought to by itself; leave --quantize out."
            )
        if self.in_place and kind == "base":
            raise RequestError(
                "--in-place quantizes the base for good, for an adapter that needs it; the base "
                "by itself is as loaded."
            )
        if self.rank is not None and kind != "name":
            raise RequestError(f"rank cuts one adapter, by its name; {quoted(self.name)} is none.")
        if self.as_ is not None:
            if kind == "set up" or (kind == "name" and self.rank is None):
                raise RequestError(
                    "--as names what is loaded, combined or cut; an adapter's name is given first."
                )
            check_name(self.as_)

    @property
    def kind(self) -> str:
        """Which of the ways is meant: base, set up, elsewhere, sum, cut or name."""
        if self.method is not None:
            if self.name is None:
                raise RequestError("--none is the base, which has no --method; leave one out.")
            return "set up"
        if self.name is None or self.name in BASE_WORDS:
            return "base"
        if is_address(self.name):
            return "elsewhere"
        if SUM in self.name:
            return "sum"
        return "cut" if CUT in self.name else "name"


def attach_options() -> tuple[dataclasses.Field[Any], ...]:
    """The declared options, in the order of the help."""
    return tuple(f for f in dataclasses.fields(AttachRequest) if f.name not in ("name", "words"))
