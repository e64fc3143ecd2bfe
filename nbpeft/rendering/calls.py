"""What a call costs with a context and without it, as a PNG: tokens read over many calls."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nbpeft.rendering.figure import BLUE, GREY, ORANGE, figure_of, png_of
from nbpeft.rendering.numbers import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def even_after(before: float, after: float, spent: float) -> int | None:
    """Calls after which fewer tokens were read in all than with the context; None for never.

    Args:
        before: tokens that a prompt has with the context,
        after: and without it.
        spent: tokens' worth of work that learning it took, a token read being one.
    """
    if after >= before:
        return None
    return math.ceil(spent / (before - after))


def calls_png(before: float, after: float, spent: float, title: str) -> bytes:
    """Tokens read over calls, with the context in each prompt and with it in the weights, as a PNG.

    Args: as `even_after` takes them.
    """
    return png_of(lambda: _figure(before, after, spent, title))


def _figure(before: float, after: float, spent: float, title: str) -> Figure:
    from matplotlib.ticker import EngFormatter

    even = even_after(before, after, spent)
    most = 2 * max(even or 0, 50)
    figure, axes = figure_of(title, "calls", "tokens read")
    calls = (0, most)
    axes.plot(
        calls, [before * n for n in calls], color=ORANGE,
        label=f"with the context: {count(round(before))} tokens a prompt",
    )  # fmt: skip
    axes.plot(
        calls, [spent + after * n for n in calls], color=BLUE,
        label=f"with the adapter: {count(round(after))} tokens a prompt, after training",
    )  # fmt: skip
    if even is not None:
        axes.axvline(even, color=GREY, linestyle="--", linewidth=1.0)
        axes.annotate(
            f"even after {count(even)} calls", (even, 0), xytext=(4, 4),
            textcoords="offset points", color=GREY, fontsize=9,
        )  # fmt: skip
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(0, most)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, labelcolor=GREY, fontsize=9)
    return figure
