"""The plan of a run as a table that a tired data scientist reads at a glance."""

from __future__ import annotations

from typing import Any

from nbpeft.plan import Memory, Plan, Weights
from nbpeft.rendering.numbers import bytes_size, count, percent
from nbpeft.rendering.table import Table


def plan_table(plan: Plan) -> Table:
    """What will happen, then every setting that isn't a library default and where it came from."""
    settings = tuple((s.name, setting_text(s.value), s.origin) for s in plan.settings)
    heading = (("settings that are not a library's default",),) if settings else ()
    return Table(
        title=f"plan for {plan.name}@{plan.version}: {plan.method}, {plan.objective}, {plan.model}",
        header=("", "value", "from"),
        rows=(*plan_figures(plan), *heading, *settings),
        notes=plan.notes,
    )


def setting_text(value: Any) -> str:
    """A setting's value as text: strings bare, lists of them with commas, the rest as Python's."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return ", ".join(setting_text(item) for item in items) or "none"
    return repr(value)


def weights_text(weights: Weights, state: str) -> str:
    """What a base's weights take as loaded and quantized."""
    return f"{bytes_size(weights.as_loaded)} → {bytes_size(weights.quantized)} ({state})"


def memory_text(memory: Memory) -> str:
    """What a run takes, and what is free."""
    needed, peak, free = (bytes_size(n) for n in (memory.needed, memory.peak, memory.free))
    return f"{needed} beside the model ({peak} in all); {free} is free"


def _steps(plan: Plan) -> str:
    if plan.budget is None:
        return count(plan.steps)
    most = f", at most {count(plan.steps)}" if plan.steps else ""
    return f"as many as fit into {plan.budget}{most}"


def plan_figures(plan: Plan) -> tuple[tuple[str, str, str], ...]:
    trained = percent(100 * plan.trained_tokens / max(1, plan.tokens))
    held_out = f"{count(plan.held_out_rows)} held out" if plan.held_out_rows else "none held out"
    parameters = f"{count(plan.trainable_parameters)} of {count(plan.total_parameters)}"
    figures = {
        "rows": f"{count(plan.train_rows)} to train on, {held_out}",
        "tokens in an epoch": f"{count(plan.tokens)}",
        "trained tokens in an epoch": f"{count(plan.trained_tokens)} ({trained})",
        "optimizer steps": _steps(plan),
        "trainable parameters": f"{parameters} ({percent(plan.trainable_percent)})",
        "extra memory": bytes_size(plan.extra_bytes),
    }
    if not plan.trained_tokens:  # what is learned isn't which token comes next
        del figures["trained tokens in an epoch"]
    if plan.weights is not None:
        figures["base weights"] = weights_text(plan.weights, plan.state)
    if plan.memory is not None:
        figures["peak memory, predicted"] = memory_text(plan.memory)
    return tuple((what, value, "") for what, value in figures.items())
