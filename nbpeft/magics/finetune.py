"""%%finetune, or %finetune without a body: from the model in the kernel to a tuned adapter."""

from __future__ import annotations

from nbpeft import api, variables
from nbpeft.magics.help import finetune_help
from nbpeft.prepare import Bindings
from nbpeft.typed import from_cell


def finetune(line: str, cell: str = "") -> None:
    request, rows = from_cell(line, cell)
    api.execute(request, Bindings(namespace=variables.namespace(), data=rows))


finetune.__doc__ = finetune_help()
