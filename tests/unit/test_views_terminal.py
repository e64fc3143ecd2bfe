"""The terminal's view: plain lines, few of them, and nothing hostile among them."""

import io

import pytest
from test_rendering_text import ACTING, HOSTILE, plan

from nbpeft.events import (
    Evaluated,
    Failed,
    Finished,
    Noted,
    Planned,
    Progressed,
    Sampled,
    Started,
)
from nbpeft.views import TerminalView
from nbpeft.views.terminal import write_line


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def lines():
    return []


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def view(lines, clock):
    return TerminalView(write=lines.append, clock=clock)


def train(view, clock, steps, seconds_a_step, *, done=0, until=None):
    for step in range(done + 1, (until or steps) + 1):
        clock.now += seconds_a_step
        took = (step - done) * seconds_a_step
        view(Progressed(step, steps, 3 - step / steps, 1e-3, took, 100 * step))


def test_a_run_line_by_line(view, lines, clock):
    view(Planned(plan()))
    view(Noted("two rows were\ncut"))
    view(Started("pirate", 4))
    view(Evaluated(0, 2.3101))
    train(view, clock, 4, 1.0)
    view(Evaluated(4, 1.4561))
    view(Finished("pirate@2", stopped=False, summary=(("loss", "1.456"), ("time", "4.0 s"))))
    assert lines[0].startswith("[nbpeft] plan for pirate@2")
    assert lines[1:] == [
        "[nbpeft] two rows were⏎cut",
        "[nbpeft] pirate · 4 steps",
        "[nbpeft] pirate · held-out 2.310 before",
        "[nbpeft] pirate · step 1/4 · loss 2.750 · held-out 2.310 before · 1.0 s · 3.0 s left",
        "[nbpeft] pirate · step 2/4 · loss 2.500 · held-out 2.310 before · 2.0 s · 2.0 s left",
        "[nbpeft] pirate · step 3/4 · loss 2.250 · held-out 2.310 before · 3.0 s · 1.0 s left",
        "[nbpeft] pirate · step 4/4 · loss 2.000 · held-out 2.310 before · 4.0 s",
        "[nbpeft] pirate · held-out 1.456 (2.310 before) at step 4",
        "[nbpeft] pirate@2 is trained and kept\n  loss  1.456\n  time  4.0 s",
    ]


def test_samples_and_speed_have_their_place(view, lines):
    view(Started("pirate", 4))
    view(Sampled(0, "Who are you?", "I am a\nmodel."))
    view(Progressed(1, 4, 2.75, 1e-3, 1.0, 100, tokens_per_second=1234.5))
    view(Sampled(1, "Who are you?", "Arr, " + 200 * "x"))
    view(Sampled(1, "Who are you?", " "))
    assert lines[1:] == [
        "[nbpeft] pirate · asked before training: Who are you? → I am a⏎model.",
        "[nbpeft] pirate · step 1/4 · loss 2.750 · 1,234 tokens/s · 1.0 s · 3.0 s left",
        f"[nbpeft] pirate · asked at step 1: Who are you? → Arr, {115 * 'x'}…",
        "[nbpeft] pirate · asked at step 1: Who are you? → (empty)",
    ]


@pytest.mark.parametrize("steps", [1, 39, 40, 41, 77, 1_000, 100_000])
def test_about_forty_lines_whatever_the_length(view, lines, clock, steps):
    view(Started("pirate", steps))
    train(view, clock, steps, 1.0)
    assert min(steps, 19) <= len(lines) - 1 <= 40
    if steps > 1:
        assert f"step 1/{steps} " in lines[1]
    assert f"step {steps}/{steps} " in lines[-1]


def test_at_most_ten_lines_a_second(view, lines, clock):
    view(Started("pirate", 1_000))
    train(view, clock, 1_000, 0.001)
    assert 9 <= len(lines) - 1 <= 11
    assert "step 1000/1000" in lines[-1]


def test_a_stopped_run_ends_on_its_last_step(view, lines, clock):
    view(Started("pirate", 1_000))
    train(view, clock, 1_000, 1.0, until=500)
    view(Finished("pirate@1", stopped=True, summary=()))
    assert "step 500/1000" in lines[-2]
    assert lines[-1] == "[nbpeft] pirate@1 stopped; kept as far as it came"


def test_a_resumed_run_reckons_from_where_it_began(view, lines, clock):
    view(Started("pirate", 100, done=90))
    view(Evaluated(90, 1.5))
    train(view, clock, 100, 2.0, done=90)
    assert lines[0] == "[nbpeft] pirate · 100 steps, 90 of them done"
    assert "before" in lines[1]
    assert lines[2].endswith("2.0 s · 18.0 s left")


def test_a_failure_says_how_far_it_came(view, lines, clock):
    view(Failed("no rows"))
    assert lines == []
    view(Started("pirate", 10))
    train(view, clock, 10, 0.001, until=3)
    view(Failed("the loss is not a number"))
    assert "step 3/10" in lines[-2]
    assert "pirate failed; the model is as it was" in lines[-1]
    assert "the loss is not a number" in lines[-1]


def test_a_view_serves_run_after_run(view, lines, clock):
    for _ in range(2):
        view(Started("pirate", 2))
        view(Evaluated(0, 2.0))
        train(view, clock, 2, 1.0)
        view(Finished("pirate@1", stopped=False, summary=(("a", "b"),)))
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts(view, lines, clock, text):
    view(Planned(plan(name=text, method=text, model=text, notes=(text,))))
    view(Noted(text))
    view(Started(text, 2))
    view(Evaluated(0, 2.0))
    view(Sampled(0, text, text))
    train(view, clock, 2, 1.0)
    view(Sampled(2, text, text))
    view(Finished(text, stopped=False, summary=((text, text),)))
    view(Started(text, 2))
    view(Failed(text))
    shown = "\n".join(lines)
    assert not ACTING & set(shown)
    assert all(line.startswith(("[nbpeft] ", "  ")) or not line for line in shown.split("\n"))
    assert sum(line.startswith("[nbpeft]") for line in shown.split("\n")) == len(lines)
    assert len(shown) < 300_000


def test_lines_go_to_the_stdout_of_the_moment(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", narrow)
    write_line("[nbpeft] pirate · 日本")
    assert narrow.buffer.getvalue() == b"[nbpeft] pirate \\xb7 \\u65e5\\u672c\n"
