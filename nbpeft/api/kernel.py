"""The kernel that all of it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbpeft import variables

if TYPE_CHECKING:
    from nbpeft.holding import Memory


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
