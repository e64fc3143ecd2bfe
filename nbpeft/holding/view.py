"""Who holds memory, with a button for each that can be let go of.

Widgets that ipywidgets 7.7 (Colab) and 8 both have. The table is a display of its own and stays in
the notebook; the buttons live as long as the kernel.
"""

from __future__ import annotations

import uuid
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display, update_display

from nbpeft import variables, widgets
from nbpeft.errors import NbPeftError
from nbpeft.holding.letting_go import let_go_one
from nbpeft.holding.memory import Held, Memory, freeing, look
from nbpeft.rendering import bytes_size, plain
from nbpeft.session import current

CACHES = Held("caches", "caches", 0, 0, (), spared=True)
"""What Python, torch and the C library keep for later; nobody holds it."""


def show(memory: Memory) -> None:
    """Into the output of the cell that runs; NotImplementedError, which IPython takes for "as
    text", where there is no notebook.
    """
    later = widgets.later()
    if later is None:
        raise NotImplementedError
    View(memory, later).show()


class View:
    """The table and the buttons of one output."""

    def __init__(self, memory: Memory, later: widgets.Later) -> None:
        from ipywidgets import HBox, Layout

        self._later = later
        self._table_id = f"nbpeft-{uuid.uuid4().hex}"
        self._memory = memory
        self.row = HBox(layout=Layout(flex_flow="row wrap"))
        self._fill()

    @property
    def buttons(self) -> dict[str, Any]:
        """By what they free."""
        return {button.nbpeft_frees: button for button in self.row.children}

    def show(self) -> None:
        """Display the table and the buttons."""
        display(self._memory._repr_mimebundle_(), raw=True, display_id=self._table_id)
        display({widgets.MIME: widgets.view_of(self.row), "text/plain": widgets.GONE}, raw=True)

    def _fill(self) -> None:
        """A button for each that can be let go of now."""
        spared = [held for held in self._memory.large if held.spared]
        self.row.children = tuple(self._button(held) for held in (*spared, CACHES))

    def _button(self, held: Held) -> Any:
        from ipywidgets import Button, Layout

        name = plain(held.name, 60, one_line=True)
        what = f"traceback of {name}" if held.kind == "traceback" else name
        size = f" · {bytes_size(held.alone)}" if held.alone else ""
        button = Button(
            description=f"free {what}{size}",
            tooltip=f"let go of {what}",
            layout=Layout(width="auto"),
        )
        button.nbpeft_frees = held.name
        # A click may come in another thread, while a cell uses what it frees.
        button.on_click(lambda _: self._later(lambda: self._free(held)))
        return button

    def _free(self, held: Held) -> None:
        session, namespace, shell = current(), variables.namespace(), get_ipython()
        try:
            note = freeing(lambda: [let_go_one(held.kind, held.name, session, namespace, shell)])
        except NbPeftError as error:
            note = str(error)
        self._memory = look(session, namespace, shell, note)
        update_display(self._memory._repr_mimebundle_(), raw=True, display_id=self._table_id)
        self._fill()
