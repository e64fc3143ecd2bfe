"""What stands in a notebook while a run goes on: bar, figures, curve, and one answer as it changes.

A bare `<progress>`, tables and an SVG, with inline styles: no script and no `<style>`, colours from
the page. Whatever isn't known yet is left out.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from nbpeft.events import Event
from nbpeft.rendering import (
    WIDTH,
    Table,
    bytes_size,
    count,
    curve_html,
    duration,
    glimpse,
    nats,
    percent,
    plain,
    thin,
)
from nbpeft.views.progress import Progress

_SIDEBAR_POINTS = 60


class Live(Protocol):
    """How a run is shown while it goes on."""

    def hear(self, event: Event) -> None:
        """An event that `Progress` has been told: what it doesn't keep may be kept."""

    def show(self, progress: Progress) -> dict[str, Any] | None:
        """What the run's display holds from now on, by MIME type; None: it changes by itself."""

    def end(self, progress: Progress) -> None:
        """The run is over, and something else stands in the display."""


class HtmlLive:
    """A run's live part as HTML, which every frontend shows (`Live`)."""

    def hear(self, event: Event) -> None:
        """See `Live`."""

    def show(self, progress: Progress) -> dict[str, Any] | None:
        """See `Live`."""
        return {"text/html": live_html(progress)}

    def end(self, progress: Progress) -> None:
        """See `Live`."""


def run_so_far(progress: Progress, *, ended: bool = False) -> dict[str, Any]:
    """What a sidebar shows of a run, for JSON, every text made safe."""
    started = progress.started
    step, steps = _steps(progress)
    losses = thin(list(progress.train_losses), _SIDEBAR_POINTS)
    return {
        "id": started.run if started else "",
        "title": plain(title_of(progress), 100, one_line=True),
        "left": progress.left,
        "step": step,
        "steps": steps,
        "losses": [[round(at), loss] for at, loss in losses if math.isfinite(loss)],
        "ended": ended,
    }


def live_html(progress: Progress) -> str:
    """The run so far, as HTML of a few kilobytes; every text in it is escaped."""
    figures = figures_of(progress)
    table = Table(
        title=title_of(progress),
        header=tuple(figures),
        rows=(tuple(figures.values()),) if figures else (),
    )
    parts = [_bar(progress), table.html(), _curve(progress)]
    sample = _sample(progress)
    parts += [sample.html()] if sample else []
    return f"<div>{''.join(parts)}</div>"


def _steps(progress: Progress) -> tuple[int, int]:
    """Steps done, and in all."""
    if progress.latest is not None:
        return progress.latest.step, progress.latest.steps
    return (progress.started.done, progress.started.steps) if progress.started else (0, 1)


def _bar(progress: Progress) -> str:
    step, steps = _steps(progress)
    return (
        f'<progress value="{min(step, steps)}" max="{max(1, steps)}" '
        f'style="width: {WIDTH}px; max-width: 100%">'
        f"{_share(step, steps)}</progress>"
    )


def _of(step: int, steps: int) -> str:
    """Of how many, where that is known."""
    return f" of {count(steps)} ({_share(step, steps)})" if steps else ""


def _share(step: int, steps: int) -> str:
    return percent(round(100 * step / max(1, steps)))


def title_of(progress: Progress) -> str:
    """'pirate: step 40 of 90 (44%)'; the name isn't made safe."""
    step, steps = _steps(progress)
    name = progress.started.name if progress.started else "run"
    return f"{name}: step {count(step)}{_of(step, steps)}"


def figures_of(progress: Progress) -> dict[str, str]:
    """The latest figures by what they are, those that aren't known left out."""
    figures: dict[str, str] = {}
    if progress.latest is not None:
        latest = progress.latest
        figures["elapsed"] = duration(latest.seconds)
        figures["left"] = progress.left
        figures["loss"] = nats(latest.loss)
    if progress.held_out is not None:
        figures["held-out loss"] = _change(progress)
    figures.update(progress.figures)
    if progress.latest is not None:
        figures["learning rate"] = f"{progress.latest.learning_rate:.2e}"
        figures["tokens/s"] = progress.speed
        figures["memory"] = _memory(progress.latest.memory, progress.latest.peak_memory)
    return {what: value for what, value in figures.items() if value}


def _change(progress: Progress) -> str:
    """'2.310' before the first step, then '2.310 → 1.456'."""
    losses = [nats(read.loss) for read in (progress.before, progress.held_out) if read is not None]
    return losses[0] if progress.held_out is progress.before else " → ".join(losses)


def _memory(now: int, peak: int) -> str:
    return f"{bytes_size(now)} (peak {bytes_size(peak)})" if peak else ""


def _curve(progress: Progress) -> str:
    step, steps = _steps(progress)
    return curve_html(list(progress.train_losses), list(progress.held_out_losses), steps or step)


def _sample(progress: Progress) -> Table | None:
    """The answer before training and the latest one, side by side."""
    latest, before = progress.sample, progress.sample_before
    if latest is None:
        return None
    answers = {"before training": glimpse(before.text)} if before else {}
    if latest is not before:
        answers[f"at step {count(latest.step)}"] = glimpse(latest.text)
    return Table(
        title="a prompt of the data and its answer",
        header=("prompt", *answers),
        rows=((glimpse(latest.prompt), *answers.values()),),
    )
