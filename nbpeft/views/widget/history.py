"""What a run's events leave to draw: the curves of all it measures, and its answers so far."""

from __future__ import annotations

import math
from typing import Any

from nbpeft.events import Evaluated, Event, Figure, Progressed, Sampled
from nbpeft.rendering import glimpse, plain, thin
from nbpeft.views.live import figures_of, title_of
from nbpeft.views.progress import Points, Progress, measured

_LOSS_POINTS, _HELD_OUT_POINTS, _OTHER_POINTS = 300, 100, 60
"""Points that are sent of one curve: a run of any length is some kilobytes."""
_SAMPLES = 12


class History:
    """The curves of one run in bounded memory: what `Progress` keeps, and what else is measured."""

    def __init__(self) -> None:
        self._curves: dict[str, tuple[str, Points]] = {}
        self._samples: list[Sampled] = []

    def hear(self, event: Event) -> None:
        """One event more of the run; a step costs some microseconds."""
        match event:
            case Progressed():
                step = event.step
                self._add("learning rate", "number", step, event.learning_rate)
                if event.tokens_per_second:
                    self._add("tokens/s", "rate", step, event.tokens_per_second)
                if event.memory:
                    self._add("memory", "bytes", step, event.memory)
                self._measured("", step, event.figures)
            case Evaluated():
                self._measured("held-out ", event.step, event.figures)
            case Sampled():
                self._samples.append(event)
                if len(self._samples) > _SAMPLES:  # the first and the latest say the most
                    del self._samples[1]

    def _measured(self, prefix: str, step: int, figures: tuple[Figure, ...]) -> None:
        for figure in figures:
            kind = "share" if figure.share else "number"
            self._add(prefix + measured(figure), kind, step, figure.value)

    def _add(self, name: str, kind: str, step: int, value: float) -> None:
        if name not in self._curves:
            self._curves[name] = (kind, Points())
        self._curves[name][1].add(step, value)

    def state(self, progress: Progress, *, ended: bool = False) -> dict[str, Any]:
        """The run so far, as the page draws it: plain values for JSON, some kilobytes."""
        started, latest = progress.started, progress.latest
        return {
            "id": started.run if started else "",
            "name": _safe(started.name) if started else "run",
            "title": _safe(title_of(progress)),
            "step": latest.step if latest else started.done if started else 0,
            "steps": latest.steps if latest else started.steps if started else 0,
            "line": progress.step_line,
            "figures": [
                [_safe(name), _safe(value)] for name, value in figures_of(progress).items()
            ],
            "losses": [
                _curve("trained rows", "number", progress.train_losses, _LOSS_POINTS)
                | {"color": "blue"},
                _curve("held-out rows", "number", progress.held_out_losses, _HELD_OUT_POINTS)
                | {"color": "orange", "dots": True},
            ],
            "curves": [
                _curve(name, kind, points, _OTHER_POINTS) | {"color": "blue"}
                for name, (kind, points) in self._curves.items()
            ],
            "samples": [
                {
                    "step": sample.step,
                    "prompt": plain(glimpse(sample.prompt)),
                    "text": plain(glimpse(sample.text)),
                }
                for sample in self._samples
            ],
            "ended": ended,
        }


def _safe(text: str) -> str:
    return plain(text, 100, one_line=True)


def _curve(name: str, kind: str, points: Points, limit: int) -> dict[str, Any]:
    """At most `limit` points (`thin`); null, which JSON has, where a value is no number."""
    kept = [
        [round(step), float(f"{value:.5g}") if math.isfinite(value) else None]
        for step, value in thin(list(points), limit)
    ]
    return {"name": name, "kind": kind, "points": kept}
