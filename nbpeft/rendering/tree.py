"""A tree of names in two levels, as a PNG and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nbpeft.rendering.escaping import plain
from nbpeft.rendering.figure import BLUE, GREY, figure_of, png_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE = 0.24
"""Inches of a line of text."""


def tree_text(root: str, branches: Mapping[str, Mapping[str, str]]) -> str:
    """The tree as lines: {branch: {leaf: what it is}}."""
    width = max((len(leaf) for leaves in branches.values() for leaf in leaves), default=0)
    lines = [root]
    for branch, leaves in branches.items():
        lines.append(f"  {branch}")
        lines += [f"    {leaf:<{width}}  {what}" for leaf, what in leaves.items()]
    return "\n".join(plain(line, one_line=True) for line in lines)


def tree_png(root: str, branches: Mapping[str, Mapping[str, str]]) -> bytes:
    """The tree as a PNG: the root on the left, branches, leaves with what they are."""
    return png_of(lambda: _figure(root, branches))


def _figure(root: str, branches: Mapping[str, Mapping[str, str]]) -> Figure:
    leaves = sum(map(len, branches.values()))
    figure, axes = figure_of("", "", "")
    figure.set_size_inches(figure.get_figwidth() * 1.35, _LINE * (leaves + 1))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(leaves - 0.5, -0.5)
    middle, place = (leaves - 1) / 2, 0

    def write(x: float, y: float, text: str, color: str = GREY, weight: str = "normal") -> None:
        safe = plain(text, 80, one_line=True)
        axes.text(x, y, safe, color=color, weight=weight, va="center", fontsize=9, parse_math=False)

    write(0.0, middle, root, weight="bold")
    for branch, own in branches.items():
        at = place + (len(own) - 1) / 2
        axes.plot([0.13, 0.17], [middle, at], color=GREY, linewidth=0.8)
        write(0.175, at, branch, weight="bold")
        for leaf, what in own.items():
            axes.plot([0.32, 0.36], [at, place], color=BLUE, linewidth=0.8)
            write(0.365, place, leaf, color=BLUE)
            write(0.475, place, what)
            place += 1
    return figure
