"""How far a run is: what every view keeps of its events, and the plain lines made of it."""

from __future__ import annotations

from collections.abc import Iterator

from nbpeft.events import (
    Evaluated,
    Failed,
    Figure,
    Finished,
    Planned,
    Progressed,
    Sampled,
    Started,
    Tabled,
)
from nbpeft.rendering import (
    Align,
    Table,
    count,
    duration,
    figure,
    glimpse,
    nats,
    plain,
    plan_table,
    thin,
)

_KEPT = 1_000


def still_table(event: Planned | Tabled) -> Table:
    """What is shown once and stays: a plan, or figures of several runs."""
    if isinstance(event, Planned):
        return plan_table(event.plan)
    align: list[Align] = ["left"]
    align += ["right" for _ in event.header[1:]]
    return Table(event.title, event.header, event.rows, tuple(align), event.notes)


def measured(figure: Figure) -> str:
    """What an objective's figure is called, made safe: it may be a user's function."""
    return plain(figure.name, 60, one_line=True)


class Points:
    """(step, value) points of a run of any length in bounded memory: at most 1,000 are kept.

    When they are full, neighbours are joined to their means (`thin`), so a million steps still
    span the whole curve.
    """

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []

    def add(self, step: int, value: float) -> None:
        """One point more, at a later step than those before."""
        self._points.append((step, value))
        if len(self._points) >= _KEPT:
            self._points = thin(self._points, _KEPT // 2)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)


class Progress:
    """What the events said so far, and the lines that say it to a person."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.latest: Progressed | None = None
        self.before: Evaluated | None = None
        """The held-out loss before the first step of this part, where it was read."""
        self.held_out: Evaluated | None = None
        """The latest held-out loss."""
        self.sample_before: Sampled | None = None
        """The answer before the first step of this run."""
        self.sample: Sampled | None = None
        """The latest answer."""
        self.train_losses = Points()
        self.held_out_losses = Points()

    def start(self, event: Started) -> None:
        """Training begins."""
        self.started = event

    def step(self, event: Progressed) -> None:
        """One optimizer step is done: the hot path."""
        self.latest = event
        self.train_losses.add(event.step, event.loss)

    def evaluate(self, event: Evaluated) -> None:
        """The held-out rows were read; before any step was done, that is where the run starts."""
        if self.latest is None:
            self.before = event
        self.held_out = event
        self.held_out_losses.add(event.step, event.loss)

    def answer(self, event: Sampled) -> None:
        """One prompt was answered."""
        if event.step == 0:
            self.sample_before = event
        self.sample = event

    @property
    def opening_line(self) -> str:
        """The run's one line before its first step: the same each time the cell runs."""
        if self.started is None:
            return "[nbpeft]"
        known = self.started.steps
        steps = f"{known:,} steps" if known else "as many steps as fit into the time"
        done = f", {self.started.done:,} of them done" if self.started.done else ""
        return self._line([steps + done])

    @property
    def step_line(self) -> str:
        """The latest step: '[nbpeft] pirate · step 40/90 · loss 1.234 · … · 2.1 s left'."""
        parts = []
        if self.latest is not None:
            of = f"/{self.latest.steps}" if self.latest.steps else ""
            parts = [f"step {self.latest.step}{of}"]
            parts += [f"loss {nats(self.latest.loss)}"]
        parts += [self.held_out_text] if self.held_out is not None else []
        parts += [f"{name} {value}" for name, value in self.figures.items()]
        if self.latest is not None:
            parts += [f"{self.speed} tokens/s"] if self.speed else []
            parts += [duration(self.latest.seconds)]
            parts += [f"{self.left} left"] if self.left else []
        return self._line(parts) if parts else self.opening_line

    @property
    def held_out_line(self) -> str:
        """The latest held-out loss, and where it was read."""
        at = f"at step {self.held_out.step}" if self.held_out and self.latest else ""
        figures = [f"{name} {value}" for name, value in self.figures.items()]
        return self._line([f"{self.held_out_text} {at}".rstrip(), *figures])

    @property
    def sample_line(self) -> str:
        """The latest answer: '[nbpeft] pirate · asked at step 40: Who are you? → Arr, …'."""
        if self.sample is None:
            return self._line(["nothing asked"])
        when = f"at step {self.sample.step}" if self.sample.step else "before training"
        prompt, answer = (
            plain(glimpse(text, 120), one_line=True)
            for text in (self.sample.prompt, self.sample.text)
        )
        return self._line([f"asked {when}: {prompt} → {answer}"])

    def _line(self, parts: list[str]) -> str:
        name = plain(self.started.name, 60, one_line=True) if self.started else "run"
        return f"[nbpeft] {' · '.join([name, *parts])}"

    @property
    def held_out_text(self) -> str:
        """'held-out 1.456 (2.310 before)'."""
        if self.held_out is None:
            return "held-out not read"
        if self.held_out is self.before:
            return f"held-out {nats(self.held_out.loss)} before"
        since = f" ({nats(self.before.loss)} before)" if self.before else ""
        return f"held-out {nats(self.held_out.loss)}{since}"

    @property
    def figures(self) -> dict[str, str]:
        """What the objective measures: over the held-out rows, and else over the latest step's."""
        found: dict[str, str] = {}
        if self.held_out is not None:
            before = {f.name: f for f in self.before.figures} if self.before else {}
            for now in self.held_out.figures:
                known = [before[now.name]] if now.name in before else []
                values = known if self.held_out is self.before else [*known, now]
                told = [figure(f.value, share=f.share) for f in values]
                found[f"held-out {measured(now)}"] = " → ".join(told)
        if self.latest is not None:
            for now in self.latest.figures:
                if f"held-out {measured(now)}" not in found:
                    found[measured(now)] = figure(now.value, share=now.share)
        return found

    @property
    def speed(self) -> str:
        """Tokens a second; empty where not known."""
        if self.latest is None or not self.latest.tokens_per_second:
            return ""
        return count(round(self.latest.tokens_per_second))

    @property
    def left(self) -> str:
        """The time that is left, at the mean pace of this part of the run; empty at the end."""
        if self.latest is None:
            return ""
        done = self.latest.step - (self.started.done if self.started else 0)
        more = self.latest.steps - self.latest.step
        return duration(self.latest.seconds / done * more) if done > 0 and more > 0 else ""


def closing_table(event: Finished) -> Table:
    """The run's own summary, under what became of it."""
    end = "stopped; kept as far as it came" if event.stopped else "is trained and kept"
    return Table(title=f"{event.label} {end}", header=("", ""), rows=event.summary)


def failure_table(event: Failed, progress: Progress) -> Table:
    """What failed, and how far the run had come."""
    rows = [("error", event.message)]
    if progress.latest is not None:
        rows += [
            ("last step", f"{progress.latest.step} of {progress.latest.steps}"),
            ("loss there", nats(progress.latest.loss)),
        ]
    name = progress.started.name if progress.started else "the run"
    return Table(title=f"{name} failed; the model is as it was", header=("", ""), rows=tuple(rows))
