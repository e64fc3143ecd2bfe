"""The form in an output, of widgets that ipywidgets 7.7 (Colab) and 8 both have.

What is typed is read at once; the plan, the memory and the rows follow when the kernel is free. A
notebook that is opened later has no form: what it ran stands below it, as below a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.display import display

from nbpeft.bindings import Bindings
from nbpeft.errors import NbPeftError, RequestError
from nbpeft.forms.boxes import Boxes
from nbpeft.forms.controls import Control, Controls, controls
from nbpeft.forms.draft import blamed, pair_problem, read
from nbpeft.forms.outlook import Looker, Outlook
from nbpeft.forms.sights import figures_html, head_html, rows_html, wrong_html
from nbpeft.forms.suggestions import suggestions
from nbpeft.forms.ways_out import WaysOut
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.rendering import setting_text
from nbpeft.request import Request
from nbpeft.session import current
from nbpeft.settings import Fields
from nbpeft.widgets import GONE, MIME, Cell, Later, view_of

if TYPE_CHECKING:
    from nbpeft.scripts import Script

FOLDS = ("More options of nbpeft", "Fields of the method", "Fields of the trainer")


class View:
    """The widgets of one form."""

    def __init__(
        self,
        given: dict[str, str | bool],
        bindings: Callable[[], Bindings],
        *,
        later: Later,
        cell: Cell,
        run: Callable[[Request, Bindings], Any],
        code: Callable[[Request, Bindings], Script],
    ) -> None:
        import ipywidgets as widgets

        self._bindings, self._later = bindings, later
        self._looker = Looker(current(), bindings)
        self._waiting = False
        self._outlook: Outlook | None = None
        self.boxes = Boxes(given, self.changed, later)
        self.problem, self.figures, self.rows = (widgets.HTML() for _ in range(3))
        grid = "repeat(auto-fill, minmax(320px, 1fr))"
        self._first, self._matter, *self._folded = (
            widgets.GridBox(layout=widgets.Layout(grid_template_columns=grid)) for _ in range(5)
        )
        self.folds = widgets.Accordion(children=self._folded, selected_index=None)
        for place, title in enumerate(FOLDS):
            self.folds.set_title(place, title)
        self.folds.observe(lambda _: later(self._unfold), "selected_index")
        self.ways_out = WaysOut(
            self._asked, bindings=bindings, later=later, cell=cell, run=run, code=code
        )
        self.box = widgets.VBox(
            [
                widgets.HTML(head_html()), self._first, self._matter, self.folds, self.problem,
                self.figures, self.rows, *self.ways_out.widgets,
            ]
        )  # fmt: skip
        self._fields: Controls
        self.changed()

    def show(self) -> None:
        """Display it."""
        display({MIME: view_of(self.box), "text/plain": GONE}, raw=True)

    # What is typed

    def changed(self) -> None:
        """Read what stands in the fields, and look later what it comes to."""
        self._fields = self._arranged()
        self._outlook = None
        self._say_problems()
        if not self._waiting:  # else what is read then is what stands there then
            self._waiting = True
            self._later(self._foresee)

    def _asked(self) -> Request:
        """What the fields ask for. RequestError where one of them can't be read."""
        request, problems = self._read()
        if request is None:
            raise RequestError("; ".join(dict.fromkeys(problems.values())))
        return request

    def _read(self) -> tuple[Request | None, dict[str, str]]:
        words = {control.word: self.boxes.text(control.word) for control in self._fields}
        return read(words, self._fields)

    def _arranged(self) -> Controls:
        """The fields of the method and the objective, each group in its place."""
        found = controls(*(str(self.boxes.text(word)) for word in ("method", "objective")))
        self._put(self._first, found.first)
        self._put(self._matter, found.matter)
        for registry, word in ((methods, "method"), (objectives, "objective")):
            self.boxes[word].explain(registry.get(str(self.boxes.text(word))).summary)
        self._unfold(found)
        offered = suggestions(self._bindings().namespace)
        for word, texts in offered.items():
            if word in self.boxes:
                self.boxes[word].suggest(texts)
        return found

    def _unfold(self, found: Controls | None = None) -> None:
        """Fill the fold that is open: of the others nobody sees the hundred fields."""
        found = found or self._fields
        groups = (found.rest, found.of_method, found.of_trainer)
        for place, (fold, group) in enumerate(zip(self._folded, groups, strict=True)):
            if place == self.folds.selected_index:
                self._put(fold, group)

    def _put(self, place: Any, group: tuple[Control, ...]) -> None:
        children = tuple(self.boxes.of(control).box for control in group)
        if place.children != children:
            place.children = children

    # What it comes to

    def _foresee(self) -> None:
        self._waiting = False
        request, _ = self._read()
        if request is None or self._pair_problem():
            self.figures.value = self.rows.value = ""
            return
        self._outlook = self._looker.outlook(request)
        self._show_outlook()
        if self._outlook.ready is not None:
            self._later(lambda: self._look_closer(request))

    def _look_closer(self, request: Request) -> None:
        """The rows and the memory, which take a second."""
        outlook = self._outlook
        if outlook is None or outlook.request is not request or outlook.ready is None:
            return  # something else has been typed meanwhile
        try:
            self.rows.value = rows_html(self._looker.look(outlook.ready))
        except NbPeftError as error:
            self.rows.value = wrong_html(str(error))
        self._outlook = self._looker.with_memory(outlook)
        self._show_outlook()

    def _show_outlook(self) -> None:
        assert self._outlook is not None
        ready = self._outlook.ready
        self.figures.value = figures_html(ready.plan) if ready else ""
        if ready is None:
            self.rows.value = ""
        self._say_problems()
        self._show_defaults()

    def _show_defaults(self) -> None:
        """In each empty field what holds there, and who says so."""
        assert self._outlook is not None
        settings, fields = self._outlook.settings, Fields(*self._pair())
        if self._outlook.ready is not None:
            self.boxes["model"].show_default(self._outlook.ready.plan.model)
        if settings is None:
            return
        origins = {setting.name: setting.origin for setting in settings.shown}
        for control in self._fields:
            if control.word in self.boxes and fields.has(control.word):
                value = settings.of(fields.find(control.word))
                origin = f" ({origins[control.word]})" if control.word in origins else ""
                told = "" if value is None else f"{setting_text(value)}{origin}"
                self.boxes[control.word].show_default(told)

    def _pair(self) -> tuple[Any, Any]:
        return (
            methods.get(str(self.boxes.text("method"))),
            objectives.get(str(self.boxes.text("objective"))),
        )

    def _pair_problem(self) -> str:
        return pair_problem(*self._pair())

    def _say_problems(self) -> None:
        """Beside its field each; what is about none, or about one that isn't shown, below."""
        _, problems = self._read()
        pair = self._pair_problem()
        if pair:
            problems.setdefault("objective", pair)
        error = self._outlook.problem if self._outlook else None
        if error is not None:
            texts = {c.word: self.boxes.text(c.word) for c in self._fields}
            word = blamed(error, texts, Fields(*self._pair()).aliases)
            problems.setdefault(word, str(error))
        for box in self.boxes:
            box.say(problems.pop(box.control.word, ""))
        self.problem.value = wrong_html("\n".join(problems.values()))
