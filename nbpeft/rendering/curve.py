"""The loss curve as a PNG: static, so that it survives save, GitHub, nbconvert and untrust."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.rendering.figure import BLUE, GREY, ORANGE, figure_of, png_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
"""A step and the loss there."""

_TRAIN_POINTS, _HELD_OUT_POINTS = 400, 100


def curve_png(
    train: Sequence[Point], held_out: Sequence[Point], title: str, unit: str = ""
) -> bytes:
    """The losses of a run over its optimizer steps, as a PNG (`png_of`).

    train, held_out: (step, loss), in the order of steps; losses that are no number leave a gap. At
    most 500 points are drawn (`thin`). unit: of the losses, 'nats per token'.
    """
    return png_of(lambda: _figure(train, held_out, title, unit))


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


def _figure(train: Sequence[Point], held_out: Sequence[Point], title: str, unit: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, axes = figure_of(title, "step", f"loss ({unit})" if unit else "loss")
    # A run of one step has no line to draw.
    alone = {"marker": "o"} if len(train) == 1 else {}
    _draw(axes, train, _TRAIN_POINTS, label="trained rows", color=BLUE, linewidth=1.4, **alone)
    _draw(
        axes, held_out, _HELD_OUT_POINTS,
        label="held-out rows", color=ORANGE, linewidth=1.0, marker="o", markersize=4.5,
    )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    if axes.lines:
        axes.legend(frameon=False, labelcolor=GREY, fontsize=9)
    return figure


def _draw(axes: Axes, points: Sequence[Point], limit: int, **style: Any) -> None:
    if points:
        steps, losses = zip(*thin(points, limit), strict=True)
        axes.plot(steps, losses, **style)
