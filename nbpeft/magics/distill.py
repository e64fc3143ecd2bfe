"""%%distill: a context into an adapter; %distill: a teacher into a student."""

from __future__ import annotations

from nbpeft import api, variables
from nbpeft.bindings import Bindings
from nbpeft.cells import CONTEXT, distill_cell
from nbpeft.forms.door import NAME
from nbpeft.magics.help import distill_help
from nbpeft.request import Request


def distill(line: str, cell: str = "") -> None:
    if line.strip() in ("", "--form") and not cell:
        api.open_form(Request(NAME, objective=CONTEXT))
        return
    request, rows = distill_cell(line, cell)
    if request.form:
        api.open_form(request, rows=rows)
    else:
        api.execute(request, Bindings(namespace=variables.namespace(), data=rows))


distill.__doc__ = distill_help()
