"""The magics: one file each. A magic parses, builds a request, and calls; it holds no logic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbpeft.config import settings
from nbpeft.magics import completion
from nbpeft.magics.adapters import peft_adapters
from nbpeft.magics.attach import peft_attach
from nbpeft.magics.compare import peft_compare
from nbpeft.magics.data import peft_data
from nbpeft.magics.distill import distill
from nbpeft.magics.export import peft_export
from nbpeft.magics.finetune import finetune
from nbpeft.magics.fit import peft_fit
from nbpeft.magics.jobs import peft_jobs
from nbpeft.magics.memory import peft_memory
from nbpeft.magics.merge import peft_merge
from nbpeft.magics.rate import peft_rate
from nbpeft.magics.score import peft_score

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

LINE: tuple[Callable[..., Any], ...] = (
    peft_adapters,
    peft_data,
    peft_export,
    peft_jobs,
    peft_memory,
    peft_merge,
)
# IPython refuses a cell magic whose body is empty: without one, the line magic does the same.
BOTH: tuple[Callable[..., Any], ...] = (
    finetune,
    distill,
    peft_attach,
    peft_compare,
    peft_fit,
    peft_rate,
    peft_score,
)


def register(shell: InteractiveShell) -> None:
    """Make the magics known to IPython, and the settings to `%config`."""
    add: Any = shell.register_magic_function  # its decorators hide its signature
    for kind, magics in (("line", LINE), ("line_cell", BOTH)):
        for magic in magics:
            add(magic, kind, magic.__name__)
    completion.register(shell, {magic.__name__: magic for magic in (*LINE, *BOTH)})
    configurables: list[Any] = shell.configurables
    if settings() not in configurables:
        configurables.append(settings())


def unregister(shell: InteractiveShell) -> None:
    """Take the magics and the settings out again."""
    for magic in (*LINE, *BOTH):
        for kind in ("line", "cell"):
            shell.magics_manager.magics[kind].pop(magic.__name__, None)
    completion.unregister(shell)
    configurables: list[Any] = shell.configurables
    if settings() in configurables:
        configurables.remove(settings())
