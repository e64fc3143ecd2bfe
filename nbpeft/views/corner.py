"""A place in a cell for a run that goes on when the cell is done.

What comes from a thread has no cell of its own: on Colab it lands below whichever runs. What
updates a display stays where that display is. So all displays are opened empty while the cell
runs, and change from then on.
"""

from __future__ import annotations

import uuid
from typing import Self

from nbpeft.rendering import escape
from nbpeft.views.notebook import Bundle, Publish, publish

PARTS = ("above", "live", "below", "picture")
"""Plan and notes; the live part, then the curve; closing table and notes; what was found."""
EMPTY: Bundle = {"text/plain": "", "text/html": "<div></div>"}


class Corner:
    """The displays of one background run, all its parts in one place."""

    def __init__(self, send: Publish = publish) -> None:
        self._send = send
        self._ids = {part: f"nbpeft-{uuid.uuid4().hex}" for part in PARTS}
        self._held: dict[str, list[Bundle]] = {part: [] for part in PARTS}
        self._is_open = False

    @classmethod
    def here(cls) -> Self | None:
        """One where displays can change; None in a terminal."""
        from nbpeft.views import is_notebook

        return cls() if is_notebook() else None

    def publish(
        self, bundle: Bundle, *, display_id: str | None = None, update: bool = False
    ) -> None:
        """`Publish` into these displays, whatever it was meant to be."""
        if not self._is_open:
            self._is_open = True
            for part in PARTS:
                self._send(EMPTY, display_id=self._ids[part])
        part = self._part(bundle, display_id)
        self._held[part] = [*(self._held[part] if part in ("above", "below") else []), bundle]
        self._show(part)

    def again(self) -> None:
        """Send what stands there once more: some frontends take nothing between two cells."""
        for part in PARTS:
            if self._held[part]:
                self._show(part)

    def _part(self, bundle: Bundle, display_id: str | None) -> str:
        if display_id is not None:
            return "live"
        if "image/png" in bundle:
            return "picture"
        return "below" if self._held["live"] else "above"

    def _show(self, part: str) -> None:
        self._send(_joined(self._held[part]), display_id=self._ids[part], update=True)


def _joined(bundles: list[Bundle]) -> Bundle:
    """Several in one display, one below another."""
    if len(bundles) == 1:
        return bundles[0]
    return {
        "text/plain": "\n".join(bundle["text/plain"] for bundle in bundles),
        "text/html": "".join(
            bundle.get("text/html") or f"<pre>{escape(bundle['text/plain'])}</pre>"
            for bundle in bundles
        ),
    }
