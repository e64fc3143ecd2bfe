"""How things stand, in a few words that a status bar has room for."""

from __future__ import annotations

from nbpeft import session
from nbpeft.rendering import bytes_size, plain
from nbpeft.room import memory_in_use


def now() -> dict[str, str]:
    """What the models answer as, and the memory in use: of the GPU, or of this process."""
    known = session._current  # noqa: SLF001  to look makes no session
    attached = known.attached() if known is not None else []
    return {
        "attached": plain(", ".join(attached), 60, one_line=True) or "base",
        "memory": bytes_size(memory_in_use()),
    }
