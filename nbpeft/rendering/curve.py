"""The loss curve as a PNG: static, so that it survives save, GitHub, nbconvert and untrust."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.rendering.escaping import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
"""A step and the loss there."""

_TRAIN_POINTS, _HELD_OUT_POINTS = 400, 100
# Both read on white and on JupyterLab's dark ground; the ground itself is left transparent.
GREY, BLUE, ORANGE = "#808080", "#3d8bd9", "#e0782f"
_INCHES, _DPI = (6.4, 2.8), 128
WIDTH = 640
"""Pixels at which the picture is meant to be shown; it holds more, for dense screens."""


def curve_png(train: Sequence[Point], held_out: Sequence[Point], title: str) -> bytes:
    """The losses of a run over its optimizer steps, as a PNG of 1.28 times `WIDTH` pixels.

    train, held_out: (step, loss in nats per token), in the order of steps; losses that are no
    number leave a gap. At most 500 points are drawn (`thin`). The same data gives the same bytes
    under one version of matplotlib, whatever the user's own matplotlib settings are; those, the
    chosen backend and pyplot stay as they are.
    """
    import matplotlib.style

    # The defaults hold while this draws, and no longer: a user's usetex or style must not reach it.
    with matplotlib.style.context("default"), warnings.catch_warnings():
        # A name in a script that the default font lacks draws boxes; the table has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = _figure(train, held_out, plain(title, 80, one_line=True))
        png = io.BytesIO()
        # Software would put matplotlib's version into the bytes.
        figure.savefig(png, format="png", dpi=_DPI, transparent=True, metadata={"Software": None})
    return png.getvalue()


def thin(points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` points: the mean of each of equal stretches of steps, and the last as it is.

    points: (step, loss) in the order of steps. Losses that are no number count only where a
    stretch holds no other.
    """
    if len(points) <= limit:
        return list(points)
    first, last = points[0][0], points[-1][0]
    stretch = (last - first) / (limit - 1) or 1.0
    buckets: dict[int, list[Point]] = {}
    for point in points[:-1]:
        place = min(limit - 2, max(0, int((point[0] - first) / stretch)))
        buckets.setdefault(place, []).append(point)
    return [*map(_mean, buckets.values()), points[-1]]


def _mean(points: list[Point]) -> Point:
    finite = [point for point in points if math.isfinite(point[1])]
    if not finite:
        return points[-1][0], math.nan
    return (
        sum(step for step, _ in finite) / len(finite),
        sum(loss for _, loss in finite) / len(finite),
    )


def _figure(train: Sequence[Point], held_out: Sequence[Point], title: str) -> Figure:
    # Figure and canvas by hand: pyplot would choose a backend and keep the figure alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # A run of one step has no line to draw.
    alone = {"marker": "o"} if len(train) == 1 else {}
    _draw(axes, train, _TRAIN_POINTS, label="trained rows", color=BLUE, linewidth=1.4, **alone)
    _draw(
        axes, held_out, _HELD_OUT_POINTS,
        label="held-out rows", color=ORANGE, linewidth=1.0, marker="o", markersize=4.5,
    )  # fmt: skip
    axes.set_title(title, color=GREY, fontsize=10, loc="left", parse_math=False)
    axes.set_xlabel("step", color=GREY)
    axes.set_ylabel("loss (nats per token)", color=GREY)
    axes.tick_params(colors=GREY)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_color(GREY)
        spine.set_visible(side in ("left", "bottom"))
    if axes.lines:
        axes.legend(frameon=False, labelcolor=GREY, fontsize=9)
    return figure


def _draw(axes: Axes, points: Sequence[Point], limit: int, **style: Any) -> None:
    if points:
        steps, losses = zip(*thin(points, limit), strict=True)
        axes.plot(steps, losses, **style)
