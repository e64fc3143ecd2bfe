"""Opening the form: with nothing, or with what a cell asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft import variables, widgets
from nbpeft.bindings import Bindings
from nbpeft.forms.controls import controls
from nbpeft.forms.draft import texts_of, words_of
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.request import Request
from nbpeft.settings import Fields

if TYPE_CHECKING:
    from nbpeft.scripts import Script

NAME = "tuned"
"""What the adapter is called where nothing is said."""
NO_NOTEBOOK = (
    "[nbpeft] The form needs a notebook. Here, type %finetune NAME --data X; %finetune? lists "
    "the options."
)


def show(
    request: Request,
    run: Callable[[Request, Bindings], Any],
    code: Callable[[Request, Bindings], Script],
    *,
    rows: Sequence[Any] | None = None,
    live: Mapping[str, Any] | None = None,
) -> None:
    """Into the output of the cell that runs.

    Args:
        request: what stands in the fields at first.
        run: runs a request.
        code: writes it as a plain script.
        rows: inline rows of a cell.
        live: objects given in Python that have no name.

    Raises:
        RequestError: there is no such method or objective, or no such setting.
    """
    from nbpeft.forms.view import View

    fields = Fields(methods.get(request.method), objectives.get(request.objective))
    fields.check(request.fields)
    later = widgets.later()
    if later is None:
        print(NO_NOTEBOOK)  # noqa: T201  the answer
        return
    known = controls(request.method, request.objective)
    given = texts_of(words_of(request), known)
    for word in ("method", "objective", "place"):  # what stands at its default, too, is shown
        given[word] = getattr(request, word)

    def bindings() -> Bindings:
        return Bindings(namespace=variables.namespace(), **{"data": rows, **(live or {})})

    View(given, bindings, later=later, cell=widgets.this_cell(), run=run, code=code).show()
