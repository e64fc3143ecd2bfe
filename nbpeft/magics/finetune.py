"""%%finetune, or %finetune without a body: from the model in the kernel to a tuned adapter."""

from __future__ import annotations

from nbpeft import api, variables
from nbpeft.bindings import Bindings
from nbpeft.forms.door import NAME
from nbpeft.magics.help import finetune_help
from nbpeft.request import Request
from nbpeft.typed import from_cell


def finetune(line: str, cell: str = "") -> None:
    if not line.strip() and not cell:
        api.open_form(Request(NAME))
        return
    request, rows = from_cell(line, cell, name=NAME if "--form" in line.split() else None)
    if request.form:
        api.open_form(request, rows=rows)
    else:
        api.execute(request, Bindings(namespace=variables.namespace(), data=rows))


finetune.__doc__ = finetune_help()
