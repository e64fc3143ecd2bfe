"""A comparison as it is shown: as a table, and as a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbpeft.comparison.figures import Figures
from nbpeft.data.prompting import answer_in
from nbpeft.rendering import (
    Marked,
    Span,
    Table,
    count,
    differences,
    duration,
    light,
    nats,
)
from nbpeft.session.session import BASE_WORDS

if TYPE_CHECKING:
    import pandas as pd

    from nbpeft.comparison.again import Again
    from nbpeft.rendering.table import Cell


@dataclass(frozen=True)
class Comparison:
    """Answers side by side; shown as a table, and as a DataFrame by `to_pandas`."""

    columns: tuple[str, ...]
    """The adapters, as they were named; 'base' is the model without any."""
    prompts: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    """A row a prompt, a column an adapter."""
    expected: tuple[str, ...] | None = None
    """The data's own answer to each prompt (`--data`)."""
    figures: Mapping[str, Figures] = field(default_factory=dict, compare=False)
    """Held-out loss, tokens and time of each column."""
    reasoned: frozenset[str] = frozenset()
    """Columns whose answers stand after 'Answer:', with the reasoning before."""
    notes: tuple[str, ...] = ()
    """Plain lines: how it was sampled, what the figures are of."""
    again: Again | None = field(default=None, compare=False, repr=False)
    """How more of it is asked; None where it can't be."""

    def to_pandas(self) -> pd.DataFrame:
        """A frame with a column `prompt`, `expected` where there is one, and one an adapter."""
        import pandas as pd

        columns = ["prompt", *self._expected_column("expected"), *self.columns]
        rows = [
            (prompt, *self._expected(row), *answers)
            for row, (prompt, answers) in enumerate(zip(self.prompts, self.answers, strict=True))
        ]
        return pd.DataFrame(rows, columns=columns)

    def table(self) -> Table:
        """The table that is shown: differences to the base marked, every text escaped there."""
        base = next((i for i, name in enumerate(self.columns) if name in BASE_WORDS), None)
        heads = (
            Marked((Span(f"{name} "), Span("no adapter", "light"))) if name in BASE_WORDS else name
            for name in self.columns
        )
        return Table(
            title="comparison: " + ", ".join(self.columns),
            header=("prompt", *self._expected_column("expected"), *heads),
            rows=(
                *(
                    (prompt, *self._expected(row), *self._marked(self.answers[row], base))
                    for row, prompt in enumerate(self.prompts)
                ),
                *self._foot(),
            ),
            notes=self.notes,
        )

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()

    def _ipython_display_(self) -> None:
        """With things to click where the page shows widgets; else as any other table."""
        from nbpeft import page, widgets

        later = widgets.later()
        if later is None or not page.shows_widgets():
            raise NotImplementedError  # which IPython takes for "as its MIME bundle"
        from nbpeft.comparison.view import View

        View(self, later).show()

    def _marked(self, answers: tuple[str, ...], base: int | None) -> tuple[Cell, ...]:
        """A row's answers, each but the base's own with its differences from that."""
        cells: list[Cell] = []
        for place, (name, text) in enumerate(zip(self.columns, answers, strict=True)):
            reference = None if base in (None, place) else answers[base]
            cells.append((_reasoned if name in self.reasoned else _marked)(text, reference))
        return tuple(cells)

    def _expected_column(self, word: str) -> tuple[str, ...]:
        return () if self.expected is None else (word,)

    def _expected(self, row: int) -> tuple[str, ...]:
        return () if self.expected is None else (self.expected[row],)

    def _foot(self) -> list[tuple[Cell, ...]]:
        """A row a figure, under a heading; figures that nobody has, or that all share, are none."""
        if not self.figures:
            return []
        columns = [self.figures[name] for name in self.columns]
        rows: list[tuple[Cell, ...]] = [("figures",)]
        if any(c.held_out_loss is not None for c in columns):
            losses = ("" if c.held_out_loss is None else nats(c.held_out_loss) for c in columns)
            rows.append(("held-out loss", *self._expected_column(""), *losses))
        if any(c.as_expected is not None for c in columns):
            known = sum(map(bool, self.expected or ()))  # a prompt that was added has none
            hits = (f"{c.as_expected} of {known}" for c in columns)
            rows.append(("as expected", "", *hits))
        if len({c.prompt_tokens for c in columns}) > 1:
            read = (count(round(c.prompt_tokens)) for c in columns)
            rows.append(("tokens a prompt", *self._expected_column(""), *read))
        tokens = (count(c.new_tokens) for c in columns)
        rows.append(("new tokens", *self._expected_column(""), *tokens))
        times = (
            duration(c.seconds) + (f" ({c.together} together)" if c.together > 1 else "")
            for c in columns
        )
        rows.append(("time", *self._expected_column(""), *times))
        if len({c.state for c in columns}) > 1:
            rows.append(("base weights", *self._expected_column(""), *(c.state for c in columns)))
        return rows


def _marked(text: str, reference: str | None) -> Cell:
    """An answer with what differs from the base's marked; as it is without a base."""
    if reference is None:
        return text
    return light("same as base") if text == reference else differences(text, reference)


def _reasoned(text: str, reference: str | None) -> Cell:
    """The reasoning light, the answer after it as any other."""
    before, answer = answer_in(text)
    if not before:
        return _marked(text, reference)
    marked = Marked((Span(answer),)) if reference is None else differences(answer, reference)
    return Marked((Span(before.rstrip(), "light"), Span(" "), *marked.spans))
