"""A confusion matrix as a PNG: which labels a classifier takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbpeft.rendering.escaping import plain
from nbpeft.rendering.figure import BLUE, GREY, figure_of, png_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NUMBERS = 20
"""Labels up to which the counts are written into the squares."""
_MOST_NAMES = 40
_LONGEST = 16
"""Characters of a label's name."""


def confusion_png(counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> bytes:
    """Counts of rows by true label (down) and predicted label (across), as a PNG (`png_of`).

    A square is as blue as its share of its true label's rows, so that a rare label is seen as well
    as a common one.
    """
    return png_of(lambda: _figure(counts, names, title))


def _figure(counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> Figure:
    from matplotlib.colors import LinearSegmentedColormap

    figure, axes = figure_of(title, "predicted", "true")
    figure.set_figheight(4.4)
    shares = [[value / max(1, sum(row)) for value in row] for row in counts]
    shades = LinearSegmentedColormap.from_list("shades", [f"{BLUE}00", BLUE])
    axes.imshow(shares, cmap=shades, vmin=0, vmax=1)
    axes.grid(visible=False)
    shown = [plain(name, _LONGEST, one_line=True) for name in names]
    places = range(len(names)) if len(names) <= _MOST_NAMES else []
    labels = shown if len(names) <= _MOST_NAMES else []
    axes.set_xticks(places, labels, parse_math=False, rotation=90 if len(names) > 6 else 0)
    axes.set_yticks(places, labels, parse_math=False)
    if len(names) <= _MOST_NUMBERS:
        for down, row in enumerate(counts):
            for across, value in enumerate(row):
                ink = "white" if shares[down][across] > 0.5 else GREY
                axes.text(across, down, str(value), ha="center", va="center", color=ink)
    return figure
