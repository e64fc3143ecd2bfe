"""%%distill: a context into an adapter; %distill: a teacher into a student."""

from __future__ import annotations

from nbpeft import api, variables
from nbpeft.cells import distill_cell
from nbpeft.magics.help import distill_help
from nbpeft.prepare import Bindings


def distill(line: str, cell: str = "") -> None:
    request, rows = distill_cell(line, cell)
    api.execute(request, Bindings(namespace=variables.namespace(), data=rows))


distill.__doc__ = distill_help()
