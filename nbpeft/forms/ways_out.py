"""What a filled-in form is good for: the run here, the equal cell, the plain script."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbpeft import page
from nbpeft.bindings import Bindings
from nbpeft.errors import NbPeftError, Stopped
from nbpeft.forms.sights import said_html
from nbpeft.request import Request
from nbpeft.widgets import Cell, Later
from nbpeft.writing import cell_of

if TYPE_CHECKING:
    from nbpeft.scripts import Script

MOST_LINES = 40


class WaysOut:
    """Three buttons, and below them what they have to say or to give."""

    def __init__(
        self,
        asked: Callable[[], Request],
        *,
        bindings: Callable[[], Bindings],
        later: Later,
        cell: Cell,
        run: Callable[[Request, Bindings], Any],
        code: Callable[[Request, Bindings], Script],
    ) -> None:
        import ipywidgets as widgets

        self._asked, self._bindings, self._later = asked, bindings, later
        self._cell, self._run, self._code = cell, run, code
        self.said = widgets.HTML()
        self.text = widgets.Textarea(layout=widgets.Layout(width="100%", display="none"))
        self.buttons = {
            "run": self._button("Run", "run it here, below this form", self.run),
            "insert": self._button("Insert cell", "the cell that asks for the same", self.insert),
            "code": self._button("Show code", "the same without nbpeft", self.show_code),
        }
        self.buttons["run"].button_style = "primary"
        self.widgets = (widgets.HBox(list(self.buttons.values())), self.said, self.text)

    def run(self) -> None:
        """The run, here: what it shows comes below the form."""
        request = self._asked()
        self._give(f"{request.name} runs; it is shown below.")
        with self._cell():
            self._run(request, self._bindings())
        if request.background:
            self._give(f"{request.name} goes on in the background: %peft_jobs")
        else:
            self._give(f"{request.name} is done. To see it: %peft_compare base {request.name}")

    def insert(self) -> None:
        """The equal cell, below the form's; where no page inserts it, to be copied."""
        cell = cell_of(self._asked(), self._bindings().data)
        if page.insert(cell, below=self._cell.name):
            self._give("The cell stands below.")
        else:
            self._give("Copy this into a new cell:", cell)

    def show_code(self) -> None:
        """The plain script."""
        script = self._code(self._asked(), self._bindings())
        lines = [*script.own, *(["The same without nbpeft:"] if script.text else [])]
        self._give("\n".join(lines), script.text)

    def _press(self, act: Callable[[], None]) -> None:
        """There is no cell to show an error: the form does."""
        for button in self.buttons.values():
            button.disabled = True
        try:
            act()
        except (NbPeftError, Stopped) as error:
            self._give(str(error))
        except Exception as error:  # noqa: BLE001  shown below the buttons
            self._give(f"{type(error).__name__}: {error}")
        finally:
            for button in self.buttons.values():
                button.disabled = False
            page.tell()

    def _give(self, told: str, text: str = "") -> None:
        self.said.value = said_html(told)
        self.text.value = text
        self.text.rows = min(MOST_LINES, text.count("\n") + 2)
        self.text.layout.display = "" if text else "none"

    def _button(self, label: str, tooltip: str, act: Callable[[], None]) -> Any:
        import ipywidgets as widgets

        button = widgets.Button(description=label, tooltip=tooltip)
        # A click may come in another thread than the kernel's own.
        button.on_click(lambda _: self._later(lambda: self._press(act)))
        return button
