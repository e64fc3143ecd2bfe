"""The live part of a run as a widget: curves with their values, answers so far, Stop.

anywidget (https://anywidget.dev) carries the script and the style with the widget itself, so the
page needs nothing of nbpeft's to draw it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from nbpeft import stop
from nbpeft.events import Event
from nbpeft.views.live import live_html
from nbpeft.views.progress import Progress
from nbpeft.views.widget.history import History
from nbpeft.widgets import MIME, joined, view_of

_HERE = Path(__file__).parent
_SECONDS_APART = 20.0
"""Between two displays with the HTML as well, which a notebook keeps that is saved meanwhile."""


class LiveWidget(anywidget.AnyWidget):
    """One run on the page; `run` is what `History.state` gives."""

    _esm = joined(_HERE, "chart.js", "live.js")
    _css = joined(_HERE, "live.css")
    run = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, message: Any, _buffers: Any) -> None:
        # It may come in another thread than the one that trains (a kernel's subshell).
        if isinstance(message, dict) and isinstance(message.get("stop"), str):
            stop.ask(message["stop"])


_latest: deque[LiveWidget] = deque()
"""Those of the latest runs; the kernel keeps widgets until they are closed."""
_KEPT = 8


def _new(state: dict[str, Any]) -> LiveWidget:
    widget = LiveWidget(run=state)
    _latest.append(widget)
    if len(_latest) > _KEPT:
        _latest.popleft().close()
    return widget


class WidgetLive:
    """A run's live part as a widget (`Live`).

    The widget is displayed at the first update and changes by itself from then on. Beside it the
    display holds the HTML, renewed now and then: a notebook that is saved in the middle of a run,
    and whose kernel ends, shows that.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._history = History()
        self._widget: LiveWidget | None = None
        self._next_display = 0.0

    def hear(self, event: Event) -> None:
        """See `Live`."""
        self._history.hear(event)

    def show(self, progress: Progress) -> dict[str, Any] | None:
        """See `Live`."""
        state = self._history.state(progress)
        now = self._clock()
        if self._widget is None:
            self._widget = _new(state)
        else:
            self._widget.run = state
            if now < self._next_display:
                return None
        self._next_display = now + _SECONDS_APART
        return {MIME: view_of(self._widget), "text/html": live_html(progress)}

    def end(self, progress: Progress) -> None:
        """See `Live`. The widget stays for a while: a page that was away then asks for it."""
        if self._widget is not None:
            self._widget.run = self._history.state(progress, ended=True)
