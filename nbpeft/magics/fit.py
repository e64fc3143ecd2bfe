"""%peft_fit: whether a run would fit into memory."""

from __future__ import annotations

from nbpeft import api, variables
from nbpeft.bindings import Bindings
from nbpeft.fitting import Fit
from nbpeft.fitting.verdict import UNNAMED
from nbpeft.magics.help import fit_help
from nbpeft.typed import from_cell


def peft_fit(line: str, cell: str = "") -> Fit:
    request, rows = from_cell(line, cell, magic="%peft_fit", name=UNNAMED)
    return api.execute_fit(request, Bindings(namespace=variables.namespace(), data=rows))


peft_fit.__doc__ = fit_help()
