"""What every picture has in common: a clear ground, inks that read in light and dark, a PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from nbpeft.rendering.escaping import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# They read on white and on JupyterLab's dark ground; the ground itself is left transparent.
GREY, BLUE, ORANGE = "#808080", "#3d8bd9", "#e0782f"
_INCHES, _DPI = (6.4, 2.8), 128
WIDTH = 640
"""Pixels at which a picture is meant to be shown; it holds more, for dense screens."""


def png_of(make: Callable[[], Figure]) -> bytes:
    """A figure as a PNG of 1.28 times `WIDTH` pixels.

    The same data gives the same bytes under one version of matplotlib, whatever the user's own
    matplotlib settings are; those, the chosen backend and pyplot stay as they are.
    """
    import matplotlib.style

    # The defaults hold while this draws, and no longer: a user's usetex or style must not reach it.
    with matplotlib.style.context("default"), warnings.catch_warnings():
        # A name in a script that the default font lacks draws boxes; the table has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        png = io.BytesIO()
        # Software would put matplotlib's version into the bytes.
        make().savefig(png, format="png", dpi=_DPI, transparent=True, metadata={"Software": None})
    return png.getvalue()


def figure_of(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """A new figure with one pair of axes, a title (made safe) and the names of both directions."""
    # Figure and canvas by hand: pyplot would choose a backend and keep the figure alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    safe = plain(title, 80, one_line=True)
    axes.set_title(safe, color=GREY, fontsize=10, loc="left", parse_math=False)
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel(y, color=GREY)
    axes.tick_params(colors=GREY)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_color(GREY)
        spine.set_visible(side in ("left", "bottom"))
    return figure, axes
