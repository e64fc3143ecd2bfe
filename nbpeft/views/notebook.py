"""A display that updates while the cell runs, and a picture and a table that stay.

The live part (`Live`: raw HTML, or a widget where the page shows them) stands under one display id.
At the end it turns into the loss curve, a PNG, and the closing table comes below it, then a picture
of what was found where there is one: displays of their own, as a frontend shows one MIME type of
each (an `<img>` with the PNG inside the table's HTML would need every sanitizer's leave, GitHub's
too; image/png needs none). What stays is raw bundles of MIME types only, no widgets: that is what
reopens and exports.

nbval compares a display as it first was with what the notebook holds in the end. So the display
begins as one line of text/plain and ends with the same line beside image/png (which nbval leaves
out); the live part comes and goes by updates only.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from nbpeft import page
from nbpeft.events import (
    Evaluated,
    Event,
    Failed,
    Finished,
    Noted,
    Planned,
    Progressed,
    Sampled,
    Started,
    Tabled,
)
from nbpeft.rendering import WIDTH, Table, curve_png, plain
from nbpeft.views.live import HtmlLive, Live, run_so_far
from nbpeft.views.progress import Progress, closing_table, failure_table, still_table

Bundle = dict[str, Any]

_SECONDS_APART = 0.2
"""Five updates in any second, which leaves room for the last step's, the curve and the table."""


class Publish(Protocol):
    """Sends a bundle of MIME types to the frontend, as new or in place of an earlier one."""

    def __call__(
        self, bundle: Bundle, *, display_id: str | None = None, update: bool = False
    ) -> None: ...


def publish(bundle: Bundle, *, display_id: str | None = None, update: bool = False) -> None:
    """`Publish` through IPython (7.34 and newer), into the output of the cell that runs."""
    from IPython.display import display, update_display

    metadata = {"image/png": {"width": WIDTH}} if "image/png" in bundle else {}
    if update:
        update_display(bundle, display_id=display_id, raw=True, metadata=metadata)
    else:
        display(bundle, display_id=display_id, raw=True, metadata=metadata)


class NotebookView:
    """A listener for a Jupyter frontend: at most ten updates a second, the last always sent."""

    def __init__(
        self,
        publish: Publish = publish,
        clock: Callable[[], float] = time.monotonic,
        live: Callable[[], Live] = HtmlLive,
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._new_live = live
        self._reset()

    def __call__(self, event: Event) -> None:
        """Show what the event says, or keep it for the next update (see `Events`)."""
        match event:
            case Progressed():
                self._progress.step(event)
                self._live.hear(event)
                self._update(at_once=event.step >= event.steps)
            case Evaluated():
                self._progress.evaluate(event)
                self._live.hear(event)
                self._update()
            case Sampled():
                self._progress.answer(event)
                self._live.hear(event)
                self._update()
            case Noted():
                self._publish(_text(f"[nbpeft] {plain(event.text, one_line=True)}"))
            case Planned() | Tabled():
                self._publish(_bundle(still_table(event)))
            case Started():
                self._start(event)
            case Finished():
                self._end(closing_table(event), event)
            case Failed():
                # A run that never began leaves nothing to close: the error says it all.
                if self._progress.started is not None:
                    self._end(failure_table(event, self._progress))

    def _reset(self) -> None:
        self._progress = Progress()
        self._live = self._new_live()
        self._display_id: str | None = None
        self._next_time = -math.inf

    def _start(self, event: Started) -> None:
        self._progress.start(event)
        self._display_id = f"nbpeft-{uuid.uuid4().hex}"
        self._publish(_text(self._progress.opening_line), display_id=self._display_id)
        self._update()

    def _update(self, at_once: bool = False) -> None:
        # Before the start there is no display; its evaluations show with the first step.
        if self._display_id is None:
            return
        now = self._clock()
        if now >= self._next_time or at_once:
            self._next_time = now + _SECONDS_APART
            shown = self._live.show(self._progress)
            if shown is not None:
                bundle = _text(self._progress.step_line) | shown
                self._publish(bundle, display_id=self._display_id, update=True)
            page.tell_run(run_so_far(self._progress))

    def _end(self, table: Table, finished: Finished | None = None) -> None:
        if self._display_id is not None:
            self._publish(self._curve(), display_id=self._display_id, update=True)
            self._live.end(self._progress)
            page.tell_run(run_so_far(self._progress, ended=True))
        self._publish(_bundle(table))
        if finished is not None and finished.picture is not None:
            self._publish(_text(finished.label) | {"image/png": finished.picture})
        self._reset()

    def _curve(self) -> Bundle:
        """What the display turns into: the curve, or its first text where nothing was drawn."""
        progress = self._progress
        bundle = _text(progress.opening_line)
        if len(progress.train_losses) + len(progress.held_out_losses):
            name = progress.started.name if progress.started else ""
            train, held_out = list(progress.train_losses), list(progress.held_out_losses)
            unit = progress.started.unit if progress.started else ""
            bundle["image/png"] = curve_png(train, held_out, title=name, unit=unit)
        return bundle


def _text(line: str) -> Bundle:
    return {"text/plain": line}


def _bundle(table: Table) -> Bundle:
    return {"text/plain": table.text(), "text/html": table.html()}
