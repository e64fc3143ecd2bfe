"""An IPython shell for a test."""

from __future__ import annotations

import types

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


def new_shell() -> InteractiveShell:
    """A real one that leaves this process's `__main__` and history alone."""
    quiet = Config(HistoryManager={"enabled": False}, InteractiveShell={"colors": "NoColor"})
    return InteractiveShell(config=quiet, user_module=types.ModuleType("a_notebook"))
