"""A comparison that goes on: another prompt to its adapters, another adapter to its prompts."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nbpeft.comparison.asking import compare
from nbpeft.comparison.figures import Figures
from nbpeft.comparison.request import Prompt
from nbpeft.comparison.result import Comparison
from nbpeft.data.prompting import Way
from nbpeft.errors import ModelError, RequestError, quoted
from nbpeft.session.models import Handle
from nbpeft.session.session import BASE_WORDS, Session


@dataclass(frozen=True)
class Again:
    """How a comparison was asked. Holds the model weakly: who lets go of it gets its memory."""

    session: Session
    handle: weakref.ref[Handle]
    tokenizer: Any
    names: tuple[str, ...]
    """Of the adapters; the `ways` are columns more."""
    prompts: tuple[Prompt, ...]
    ways: tuple[Way, ...]
    max_new_tokens: int
    seed: int | None

    def model(self) -> Handle:
        """ModelError where it is gone."""
        handle = self.handle()
        if handle is None:
            raise ModelError("The model is gone; load it, and run the comparison's cell again.")
        return handle

    def compared(self, expected: Sequence[str] | None) -> Comparison:
        """The comparison itself."""
        found = self._asked(self.names, self.prompts, self.ways, expected)
        return dataclasses.replace(found, again=self)

    def others(self) -> list[str]:
        """Adapters of this model that are not compared yet, and the base."""
        handle = self.handle()
        known = [] if handle is None else ["base", *self.session.names(handle)]
        own = {"base" if name in BASE_WORDS else name for name in self.names}
        return [name for name in known if name not in own]

    def label(self, name: str) -> str:
        """NAME@VERSION of an adapter's column; any other's name."""
        if name in BASE_WORDS or name not in self.names:
            return name
        return self.session.record(self.model(), name).label

    def with_prompt(self, shown: Comparison, prompt: str) -> Comparison:
        """A row more, answered by every column. RequestError for an empty prompt."""
        if not prompt.strip():
            raise RequestError("The prompt is empty: type one.")
        new = self._asked(self.names, [prompt], self.ways)
        many = len(shown.prompts)
        return dataclasses.replace(
            shown,
            prompts=(*shown.prompts, *new.prompts),
            answers=(*shown.answers, *new.answers),
            expected=None if shown.expected is None else (*shown.expected, ""),
            figures={n: _sum(shown.figures[n], new.figures[n], many) for n in shown.columns},
            again=dataclasses.replace(self, prompts=(*self.prompts, prompt)),
        )

    def with_adapter(self, shown: Comparison, name: str) -> Comparison:
        """A column more, asked every prompt. RequestError for one that is there."""
        if name in shown.columns:
            raise RequestError(f"{quoted(name)} is compared already.")
        new = self._asked([name], self.prompts, (), shown.expected)
        return dataclasses.replace(
            shown,
            columns=(*shown.columns, name),
            answers=tuple(
                (*old, *more) for old, more in zip(shown.answers, new.answers, strict=True)
            ),
            figures={**shown.figures, **new.figures},
            again=dataclasses.replace(self, names=(*self.names, name)),
        )

    def _asked(
        self,
        names: Sequence[str],
        prompts: Sequence[Prompt],
        ways: Sequence[Way],
        expected: Sequence[str] | None = None,
    ) -> Comparison:
        return compare(
            self.session, self.model(), self.tokenizer, names, prompts, ways=ways,
            expected=expected, max_new_tokens=self.max_new_tokens, seed=self.seed,
        )  # fmt: skip


def _sum(old: Figures, new: Figures, many: int) -> Figures:
    """Of `many` prompts and one more, of which no answer is expected."""
    return dataclasses.replace(
        old,
        new_tokens=old.new_tokens + new.new_tokens,
        seconds=old.seconds + new.seconds,
        prompt_tokens=(many * old.prompt_tokens + new.prompt_tokens) / (many + 1),
    )
