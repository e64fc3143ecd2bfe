"""How long the rows are, as a PNG, with the length at which they are cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.rendering.figure import BLUE, GREY, ORANGE, figure_of, png_of
from nbpeft.rendering.numbers import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 40
SKEWED = 20
"""Times the median that the longest row must be for a logarithmic axis."""
FAR = 1.5
"""Times the longest row up to which the cut is drawn."""
FEW = 4
"""Borders of bins up to which bars would be as broad as the picture."""


def histogram_png(lengths: Sequence[int], cut_at: int, title: str) -> bytes:
    """Rows by their number of tokens, and a line at `cut_at` tokens, as a PNG (`png_of`)."""
    return png_of(lambda: _figure(lengths, cut_at, title))


def spread(lengths: Sequence[int]) -> tuple[list[float], bool]:
    """The borders of at most BINS bins, and whether they widen by ratio instead of being equal.

    lengths: tokens, at least one number; none below 1. By ratio where a few rows are so long that
    all others would stand in one bin.
    """
    shortest, longest = min(lengths), max(lengths)
    end = longest + 1
    if longest > SKEWED * sorted(lengths)[len(lengths) // 2]:
        ratio = math.log(end / shortest) / BINS
        return [*(shortest * math.exp(ratio * i) for i in range(BINS)), float(end)], True
    width = math.ceil((end - shortest) / BINS)
    bins = math.ceil((end - shortest) / width)
    return [shortest - 0.5 + width * i for i in range(bins + 1)], False


def _figure(lengths: Sequence[int], cut_at: int, title: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, axes = figure_of(title, "tokens", "rows")
    edges, by_ratio = spread(lengths)
    axes.hist(lengths, bins=edges, color=BLUE)
    axes.margins(x=0.05 if len(edges) > FEW else 1)
    if by_ratio:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    line: dict[str, Any] = {"color": ORANGE, "linestyle": "--", "linewidth": 1.2}
    if cut_at <= FAR * edges[-1]:
        axes.axvline(cut_at, label=f"cut at {count(cut_at)}", **line)
    else:  # the line would press all bars together
        axes.plot([], [], label=f"cut at {count(cut_at)} →", **line)
    axes.legend(  # above the bars, beside the title
        frameon=False, labelcolor=GREY, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1)
    )
    return figure
