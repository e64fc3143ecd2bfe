"""The parts of a form that are only looked at, as HTML; every text is escaped."""

from __future__ import annotations

from nbpeft.data.looking.look import Look
from nbpeft.forms.outlook import SHOWN
from nbpeft.plan import Plan
from nbpeft.rendering import Table, bytes_size, escape, percent, plan_figures, tokens_html

WRONG = "font-weight: bold; border-left: 3px solid #d9534f; padding-left: 0.5em"


def head_html() -> str:
    """What this is."""
    return (
        "<b>Tune the model in the kernel</b> "
        "<span style='opacity: 0.75'>nothing happens before you press Run</span>"
    )


def said_html(text: str) -> str:
    """A line of nbpeft's."""
    return f'<div role="status" style="white-space: pre-wrap">{escape(text, 2000)}</div>'


def wrong_html(text: str) -> str:
    """Why it can't be."""
    page = f'<div role="alert" style="white-space: pre-wrap; {WRONG}">{escape(text, 2000)}</div>'
    return page if text else ""


def figures_html(plan: Plan) -> str:
    """What the run would come to, as far as it is known."""
    rows = tuple((what, value) for what, value, _ in plan_figures(plan))
    table = Table(title="what this comes to", header=("", ""), rows=rows, notes=plan.notes)
    return f"{table.html()}{_memory_bar(plan)}"


def _memory_bar(plan: Plan) -> str:
    if plan.memory is None:
        return "<div style='opacity: 0.75'>looking whether it fits into memory …</div>"
    needed, free = plan.memory.needed, max(1, plan.memory.free)
    told = f"{bytes_size(needed)} of {bytes_size(plan.memory.free)} free memory"
    return (
        f'<progress value="{min(needed, free)}" max="{free}" style="width: 16em" '
        f'aria-label="{escape(told)}"></progress> {escape(told)} ({percent(100 * needed / free)})'
    )


def rows_html(look: Look) -> str:
    """Rows of the data, token by token."""
    refusal = wrong_html(look.refusal) if look.refusal else ""
    return f"{refusal}{tokens_html(look.shown[:SHOWN])}"
