"""The loss curve while a run goes on: a small SVG, made in about a millisecond.

Several times a second a PNG would cost training time (matplotlib takes a tenth of a second) and
ten times the bytes. Frontends show inline SVG in the output of a cell that runs: JupyterLab and
Notebook because running a cell makes it trusted, Colab and VS Code because outputs live in frames
of their own. Only a notebook that was saved in the middle of a run and is opened untrusted loses
it, and keeps the line above it, which is why no word stands inside; at the end a PNG takes its
place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nbpeft.rendering.curve import Point, thin
from nbpeft.rendering.figure import BLUE, GREY, ORANGE, WIDTH
from nbpeft.rendering.numbers import nats

_TRAIN_POINTS, _HELD_OUT_POINTS = 300, 100
_HEIGHT, _MARGIN = 120, 4


def curve_html(train: Sequence[Point], held_out: Sequence[Point], steps: int) -> str:
    """The losses so far over a run's whole length, `WIDTH` pixels wide, under a line that says so.

    train, held_out: (step, loss), in the order of steps; losses that are no
    number leave a gap. steps: of the whole run, the full width. At most 400 points are drawn
    (`thin`). Empty where there is no loss yet. Holds numbers only, no text of others.
    """
    lines = [thin(train, _TRAIN_POINTS), thin(held_out, _HELD_OUT_POINTS)]
    losses = [loss for line in lines for _, loss in line if math.isfinite(loss)]
    if not losses:
        return ""
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0

    def place(point: Point) -> str:
        across = _MARGIN + point[0] / max(1, steps) * (WIDTH - 2 * _MARGIN)
        down = _MARGIN + (high - point[1]) / span * (_HEIGHT - 2 * _MARGIN)
        return f"{across:.1f},{down:.1f}"

    trained, read = ([[place(p) for p in run] for run in _runs(line)] for line in lines)
    # A line of one point is a dot.
    dots = [(run[0], BLUE) for run in trained if len(run) == 1]
    dots += [(at, ORANGE) for run in read for at in run]
    return (
        f"{_caption(low, high)}"
        f'<svg viewBox="0 0 {WIDTH} {_HEIGHT}" width="{WIDTH}" height="{_HEIGHT}" '
        'style="max-width: 100%; height: auto; display: block; margin-bottom: 0.5em">'
        f'<path d="M0.5,0 V{_HEIGHT - 0.5} H{WIDTH}" fill="none" stroke="{GREY}"/>'
        f"{_lines(trained, BLUE)}{_lines(read, ORANGE)}"
        f"{''.join(_dot(at, color) for at, color in dots)}</svg>"
    )


def _caption(low: float, high: float) -> str:
    return (
        '<div style="margin: 0.5em 0">loss from '
        f"{nats(high)}, top, to {nats(low)}, bottom: "
        f'<span style="color: {BLUE}">trained rows</span>, '
        f'<span style="color: {ORANGE}">held-out rows</span></div>'
    )


def _runs(points: Iterable[Point]) -> list[list[Point]]:
    """Stretches without a gap."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _lines(runs: Iterable[list[str]], color: str) -> str:
    return "".join(
        f'<polyline points="{" ".join(run)}" fill="none" stroke="{color}" stroke-width="1.4"/>'
        for run in runs
        if len(run) > 1
    )


def _dot(at: str, color: str) -> str:
    across, up = at.split(",")
    return f'<circle cx="{across}" cy="{up}" r="2.5" fill="{color}"/>'
