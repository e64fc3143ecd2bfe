"""The session: the kernel's models, and the adapters that belong to them."""

from __future__ import annotations

from nbpeft.session.session import Session

_current: Session | None = None


def current() -> Session:
    """The one session of this kernel."""
    global _current  # noqa: PLW0603  one kernel, one session
    if _current is None:
        _current = Session()
    return _current
