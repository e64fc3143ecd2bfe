"""nbpeft: fine-tune the model that is already loaded in your Jupyter kernel.

    %load_ext nbpeft
    %%finetune NAME --data X

Everything public stands in `__all__`. Importing it is light: torch and the libraries around it are
imported by the first call that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Comparison": "nbpeft.comparison",
    "Exported": "nbpeft.data.hosting",
    "Fit": "nbpeft.fitting.verdict",
    "Job": "nbpeft.background",
    "Memory": "nbpeft.holding.memory",
    "Look": "nbpeft.data.looking.look",
    "Merged": "nbpeft.merging.result",
    "NbPeft": "nbpeft.config",
    "NbPeftError": "nbpeft.errors",
    "Rating": "nbpeft.rating",
    "Ratings": "nbpeft.rating",
    "Record": "nbpeft.session.record",
    "Run": "nbpeft.run",
    "Script": "nbpeft.scripts",
    "Session": "nbpeft.session.session",
    "Stopped": "nbpeft.errors",
    "adapters": "nbpeft.api",
    "attach": "nbpeft.api",
    "compare": "nbpeft.api",
    "delete": "nbpeft.api",
    "describe": "nbpeft.api",
    "distill": "nbpeft.api",
    "evaluate": "nbpeft.api",
    "export": "nbpeft.api",
    "export_adapter": "nbpeft.api",
    "fit": "nbpeft.api",
    "family_tree": "nbpeft.listing.family_tree",
    "finetune": "nbpeft.api",
    "form": "nbpeft.api",
    "jobs": "nbpeft.api",
    "load_data": "nbpeft.tiny",
    "load_tiny": "nbpeft.tiny",
    "look": "nbpeft.api",
    "make_student": "nbpeft.teaching",
    "memory": "nbpeft.api",
    "merge": "nbpeft.api",
    "predict": "nbpeft.scoring.doors",
    "rate": "nbpeft.api",
    "rename": "nbpeft.api",
    "save": "nbpeft.api",
    "score": "nbpeft.scoring.doors",
    "show_code": "nbpeft.api",
}

__all__ = sorted([*_HOMES, "load_ipython_extension", "unload_ipython_extension"])  # noqa: PLE0605

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nbpeft.api import adapters as adapters
    from nbpeft.api import attach as attach
    from nbpeft.api import compare as compare
    from nbpeft.api import delete as delete
    from nbpeft.api import describe as describe
    from nbpeft.api import distill as distill
    from nbpeft.api import evaluate as evaluate
    from nbpeft.api import export as export
    from nbpeft.api import export_adapter as export_adapter
    from nbpeft.api import finetune as finetune
    from nbpeft.api import fit as fit
    from nbpeft.api import form as form
    from nbpeft.api import jobs as jobs
    from nbpeft.api import look as look
    from nbpeft.api import memory as memory
    from nbpeft.api import merge as merge
    from nbpeft.api import rate as rate
    from nbpeft.api import rename as rename
    from nbpeft.api import save as save
    from nbpeft.api import show_code as show_code
    from nbpeft.listing.family_tree import family_tree as family_tree
    from nbpeft.scoring.doors import predict as predict
    from nbpeft.scoring.doors import score as score
    from nbpeft.teaching import make_student as make_student
    from nbpeft.tiny import load_data as load_data
    from nbpeft.tiny import load_tiny as load_tiny


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nbpeft' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext nbpeft`: register the magics and the settings, and say hello to the page."""
    from nbpeft import page
    from nbpeft.listing.now import now
    from nbpeft.magics import register

    register(shell)
    page.opened(shell, now)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """`%unload_ext nbpeft`: take them out again."""
    from nbpeft import page
    from nbpeft.magics import unregister

    unregister(shell)
    page.closed(shell)
