"""The kernel that all of it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbpeft import variables
from nbpeft.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbpeft.background import Jobs
    from nbpeft.holding import Memory


def jobs() -> Jobs:
    """The background runs of this kernel, the earliest first; the twin of `%peft_jobs`.

    Each has `.name`, `.state` (waiting, running, done, stopped, failed), `.where` ('step 12 of
    100'), `.left`, `.result` (its `Run`) and `.error`, `.wait()`, which raises what the run raised,
    and `.stop()`. The list has `.wait()` and `.stop()` for all, `.of(name)`, and shows itself as a
    table.
    """
    from nbpeft.background import jobs as jobs_

    return jobs_()


def execute_jobs(names: Sequence[str], *, wait: bool, stop: bool) -> Jobs:
    """Stop and wait for jobs: those of the names, or all; returns the list."""
    from nbpeft.background.listing import ALL, Jobs

    if stop and not names:
        raise RequestError("%peft_jobs --stop wants a NAME, or all.")
    every = jobs()
    chosen = every
    if names and tuple(names) != (ALL,):
        chosen = Jobs(job for name in names for job in every.of(name))
    if stop:
        chosen.stop()
    if wait:
        (chosen if names else chosen.untold).wait()
    return every


def memory(*names: str, free: bool = False) -> Memory:
    """Who holds memory: variables, outputs, the last traceback, adapters; see `%peft_memory`.

    With `free`, once outputs and a traceback that hold tensors were let go, adapters that the
    shelf has (they are read again when needed), and the variables `names`. Returns a `Memory`,
    which shows itself as a table and holds nothing. Raises RequestError for a name that no variable
    has.
    """
    from IPython.core.getipython import get_ipython

    from nbpeft.holding import memory as memory_
    from nbpeft.session import current

    return memory_(current(), variables.namespace(), get_ipython(), names, free=free)
