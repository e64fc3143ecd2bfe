"""A comparison as a widget: sorted, differences on a click, more prompts and adapters, votes.

The display holds the static table beside the widget: that is what a saved notebook shows, and a
page that has no widgets. Clicks act in the kernel's own thread, once no cell runs there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython.display import display, update_display

from nbpeft import variables
from nbpeft.comparison.again import Again
from nbpeft.comparison.result import Comparison
from nbpeft.errors import NbPeftError
from nbpeft.rendering import Marked, plain
from nbpeft.widgets import MIME, Later, joined, view_of

if TYPE_CHECKING:
    from nbpeft.rating.voting import Votes

_HERE = Path(__file__).parent
INTO = "ratings"
"""The variable and the file that votes go to: `%peft_rate`'s own."""


class ComparisonWidget(anywidget.AnyWidget):
    """One comparison on the page; `table` is `state_of` it, `status` what came of a click."""

    _esm = joined(_HERE, "comparison.js")
    _css = joined(_HERE, "comparison.css")
    table = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict({"busy": False, "text": ""}).tag(sync=True)


class View:
    """The widget of one output, and what its clicks do."""

    def __init__(self, comparison: Comparison, later: Later) -> None:
        self.comparison = comparison
        self.voted: dict[int, int] = {}
        """The column that is best, by row."""
        self._votes: Votes | None = None
        self._later = later
        self._display_id = f"nbpeft-{uuid.uuid4().hex}"
        self.widget = ComparisonWidget(table=self._state())
        self.widget.on_msg(self._heard)

    def show(self) -> None:
        """Into the output of the cell that runs."""
        display(self._bundle(), raw=True, display_id=self._display_id)

    def _state(self) -> dict[str, Any]:
        return {"id": self._display_id, **state_of(self.comparison, self.voted)}

    def _bundle(self) -> dict[str, Any]:
        return {MIME: view_of(self.widget), **self.comparison.table()._repr_mimebundle_()}

    def _heard(self, _widget: Any, message: Any, _buffers: Any) -> None:
        """A click. What it asks for is done between two cells, as it may ask the model."""
        acts = {"prompt": self._prompt, "adapter": self._adapter, "vote": self._vote}
        if isinstance(message, dict) and len(message) == 1:
            ((word, value),) = message.items()
            if word in acts:
                self.widget.status = {"busy": True, "text": "once the kernel is free …"}
                self._later(lambda: self._done(acts[word], value))

    def _done(self, act: Any, value: Any) -> None:
        self.widget.status = {"busy": True, "text": "answering …"}
        try:
            said = act(value)
        except Exception as error:  # noqa: BLE001  there is no cell to show it: the widget does
            said = str(error) if isinstance(error, NbPeftError) else repr(error)
        self.widget.table = self._state()
        self.widget.status = {"busy": False, "text": plain(said, one_line=True)}

    def _prompt(self, prompt: Any) -> str:
        return self._grown(Again.with_prompt, prompt)

    def _adapter(self, name: Any) -> str:
        return self._grown(Again.with_adapter, name)

    def _grown(self, grow: Callable[[Again, Comparison, str], Comparison], value: Any) -> str:
        again = self.comparison.again
        if again is None or not isinstance(value, str):
            return ""
        self.comparison = grow(again, self.comparison, value)
        update_display(self._bundle(), raw=True, display_id=self._display_id)
        return ""

    def _vote(self, value: Any) -> str:
        row, best = value
        again = self.comparison.again
        if again is None:
            return ""
        if self._votes is None:
            from nbpeft.rating.voting import Votes

            self._votes = Votes(again.session, variables.namespace(), INTO)
        who = map(again.label, self.comparison.columns)
        given = list(zip(who, self.comparison.answers[row], strict=True))
        self._votes.vote(row, again.prompts[row], given, best)
        self.voted[row] = best
        return f"kept in {INTO}: %finetune NAME --data {INTO} --objective dpo"


def state_of(comparison: Comparison, voted: dict[int, int]) -> dict[str, Any]:
    """A comparison as the page draws it: plain values for JSON, every text made safe."""
    table = comparison.table()
    many, again = len(comparison.prompts), comparison.again
    first = 1 if comparison.expected is None else 2
    return {
        "columns": [plain(name, 100, one_line=True) for name in comparison.columns],
        "expected": comparison.expected is not None,
        "rows": [
            {
                "prompt": plain(comparison.prompts[place]),
                "expected": plain(comparison.expected[place]) if comparison.expected else "",
                "answers": [
                    {"text": plain(text), "spans": _spans(cell)}
                    for text, cell in zip(
                        comparison.answers[place], table.rows[place][first:], strict=True
                    )
                ],
                "best": voted.get(place),
            }
            for place in range(many)
        ],
        "figures": [
            [plain(str(cell)) for cell in (row[0], *row[first:])] for row in table.rows[many + 1 :]
        ],
        "notes": [plain(note) for note in comparison.notes],
        "others": [] if again is None else again.others(),
        "more": again is not None,
    }


def _spans(cell: Any) -> list[list[str]]:
    """The pieces of a cell with their marks; none where nothing is marked."""
    if not isinstance(cell, Marked):
        return []
    return [[plain(span.text), span.mark] for span in cell.spans]
