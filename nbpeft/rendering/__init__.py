"""How things look: texts made safe, numbers, tables and curves, shared by views and results.

The lowest layer above the plan and the events. Nothing here knows of models or kernels, nothing
imports torch, and matplotlib is imported only while a picture is drawn.
"""

from nbpeft.rendering.calls import calls_png, even_after
from nbpeft.rendering.confusion import confusion_png
from nbpeft.rendering.curve import curve_png, thin
from nbpeft.rendering.escaping import escape, glimpse, plain
from nbpeft.rendering.figure import WIDTH
from nbpeft.rendering.histogram import histogram_png
from nbpeft.rendering.marked import Marked, Span, differences, light
from nbpeft.rendering.numbers import bytes_size, count, duration, figure, nats, percent
from nbpeft.rendering.plans import plan_figures, plan_table, setting_text
from nbpeft.rendering.sparkline import curve_html
from nbpeft.rendering.table import Align, Table
from nbpeft.rendering.tokens import Gap, Token, TokenRow, tokens_html, tokens_text
from nbpeft.rendering.tree import tree_png, tree_text

__all__ = [
    "WIDTH",
    "Align",
    "Gap",
    "Marked",
    "Span",
    "Table",
    "Token",
    "TokenRow",
    "bytes_size",
    "calls_png",
    "confusion_png",
    "count",
    "curve_html",
    "curve_png",
    "differences",
    "duration",
    "escape",
    "even_after",
    "figure",
    "glimpse",
    "histogram_png",
    "light",
    "nats",
    "percent",
    "plain",
    "plan_figures",
    "plan_table",
    "setting_text",
    "thin",
    "tokens_html",
    "tokens_text",
    "tree_png",
    "tree_text",
]
