"""A few of a run's rows, as they were found and as nbpeft wrote them, to try ways of writing on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.recipes import columns_in_python
from nbpeft.scripts import asking_trl
from nbpeft.scripts.writing import quoted

if TYPE_CHECKING:
    from nbpeft.data.splitting.parts import Part
    from nbpeft.prepare import Prepared

TRIED = 500
"""Rows that a way is tried on."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """How rows are made ready for a trainer."""

    steps: tuple[str, ...] = ()
    """Lines, with ROWS for what the rows are bound to."""
    defined: str = ""
    """The functions that these use."""
    words: Mapping[str, Any] = field(default_factory=dict)
    """Of the trainer's config."""
    imports: frozenset[tuple[str, str]] = frozenset()
    last: tuple[str, ...] = ()
    """Lines once rows are parted."""


class Sample:
    """The first rows of a run, as they were found, and the tokens that nbpeft made of them."""

    def __init__(self, ready: Prepared, part: Part) -> None:
        self.ready = ready
        self.part = part
        self.tokenizer = ready.tokenizer
        self.template = ready.rows.rendering.template
        count = min(len(part), TRIED)
        self.raw: list[Row] = [dict(part.dataset[i]) for i in range(count)]
        made = ready.rows.train
        self.made: list[Row] = [dict(made[i]) for i in range(min(len(made), TRIED))]
        self.all = len(part) <= TRIED
        """Whether these are all the rows."""
        self.max_length = int(ready.settings.trainer["max_length"])
        columns, self.modules = columns_in_python(part.reading)
        self.columns = {name: _in_double_quotes(v, part) for name, v in columns.items()}
        """Of each of the format's columns the expression of a `row`."""

    @property
    def named(self) -> bool:
        """Whether the columns have the format's own names already."""
        return all(value == f"row[{quoted(name)}]" for name, value in self.columns.items())

    def same(self, given: Sequence[Row], columns: Sequence[str]) -> bool:
        """Whether rows have nbpeft's tokens and labels.

        A row's first token is told by nothing: its label doesn't count.
        """
        if not given or (self.all and len(given) != len(self.made)):
            return False
        pairs = zip(given, self.made, strict=False)
        return all(_counted(a[c], c) == _counted(b[c], c) for a, b in pairs for c in columns)

    @contextlib.contextmanager
    def as_in_script(self) -> Iterator[None]:
        """Inside, the tokenizer writes chats as the script's does."""
        before = self.tokenizer.chat_template
        try:
            if self.template is not None:
                self.tokenizer.chat_template = self.template
            with asking_trl.undisturbing(self.tokenizer):
                yield
        finally:
            self.tokenizer.chat_template = before


def _in_double_quotes(expression: str, part: Part) -> str:
    for name in part.reading.columns.values():
        expression = expression.replace(f"row[{name!r}]", f"row[{quoted(name)}]")
    return expression


def _counted(values: Sequence[int], column: str) -> list[int]:
    return list(values[1:]) if column.endswith("labels") else list(values)


def rows_of(way: Way, sample: Sample, tokenizer: Any) -> list[Row]:
    """The rows as the script's own functions make them."""
    if not way.defined:
        return [{name: row[name] for name in sample.columns} for row in sample.raw]
    function = function_of(way, tokenizer, sample.modules)
    try:
        return [dict(function(row)) for row in sample.raw]
    except Exception:  # noqa: BLE001  rows that this way isn't made for
        return []


def function_of(way: Way, tokenizer: Any, modules: Sequence[str]) -> Callable[[Row], Row]:
    space: dict[str, Any] = {"tokenizer": tokenizer}
    lines = [f"import {module}" for module in modules]
    exec("\n".join([*lines, way.defined]), space)  # noqa: S102  what is written above
    name = way.defined.rpartition("def ")[2].partition("(")[0]
    made: Callable[[Row], Row] = space[name]
    return made
