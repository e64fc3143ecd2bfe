"""The notebook's view: a display that updates, then a picture and a table that stay."""

import itertools

import pytest
from test_rendering_text import ACTING, HOSTILE, Tags, plan
from test_views_terminal import Clock, train

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
from nbpeft.views import NotebookView, TerminalView, choose
from nbpeft.views.progress import Points

FINISHED = Finished("pirate@1", stopped=False, summary=(("loss", "1.456"), ("time", "4.0 s")))


class Frontend:
    """A notebook's cell: its outputs in their order, and every message with its time."""

    def __init__(self, clock):
        self.clock, self.outputs, self.messages, self.ids = clock, [], [], {}

    def __call__(self, bundle, *, display_id=None, update=False):
        self.messages.append((self.clock.now, update, bundle))
        if update:
            self.outputs[self.ids[display_id]] = bundle
        else:
            self.ids[display_id] = len(self.outputs)
            self.outputs.append(bundle)

    @property
    def updates(self):
        return [bundle["text/plain"] for _, update, bundle in self.messages if update]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cell(clock):
    return Frontend(clock)


@pytest.fixture
def view(cell, clock):
    return NotebookView(publish=cell, clock=clock)


def test_a_run_from_plan_to_table(view, cell, clock):
    view(Planned(plan()))
    view(Noted("two rows were cut"))
    view(Started("pirate", 4))
    view(Evaluated(0, 2.3101))
    train(view, clock, 4, 1.0)
    view(Evaluated(4, 1.4561))
    assert len(cell.outputs) == 3
    assert cell.updates == [
        "[nbpeft] pirate · 4 steps",
        "[nbpeft] pirate · step 1/4 · loss 2.750 · held-out 2.310 before · 1.0 s · 3.0 s left",
        "[nbpeft] pirate · step 2/4 · loss 2.500 · held-out 2.310 before · 2.0 s · 2.0 s left",
        "[nbpeft] pirate · step 3/4 · loss 2.250 · held-out 2.310 before · 3.0 s · 1.0 s left",
        "[nbpeft] pirate · step 4/4 · loss 2.000 · held-out 2.310 before · 4.0 s",
    ]
    view(FINISHED)
    planned, noted, curve, table = cell.outputs
    assert planned["text/plain"].startswith("[nbpeft] plan for pirate@2")
    assert noted == {"text/plain": "[nbpeft] two rows were cut"}
    assert set(curve) == {"text/plain", "image/png"}
    assert curve["image/png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert (
        table["text/plain"] == "[nbpeft] pirate@1 is trained and kept\n  loss  1.456\n  time  4.0 s"
    )
    assert Tags(table["text/html"]).text == "pirate@1 is trained and keptloss1.456time4.0 s"


@pytest.mark.parametrize("seconds_a_step", [0.0003, 0.01, 0.09, 0.1, 0.14, 0.2])
def test_at_most_ten_messages_in_any_second_and_the_last_step_always(
    view, cell, clock, seconds_a_step
):
    view(Started("pirate", 3_000))
    train(view, clock, 3_000, seconds_a_step)
    view(FINISHED)
    assert any("step 3000/3000" in line for line in cell.updates)
    times = [time for time, _, _ in cell.messages[1:]]
    assert all(
        sum(start <= time < start + 1 for time in times) <= 10 for start in times[::7] + times[-9:]
    )
    assert len(cell.updates) > 3_000 * seconds_a_step / 0.4


def test_what_was_held_back_shows_with_the_next_event(view, cell, clock):
    view(Started("pirate", 100))
    view(Progressed(1, 100, 2.5, 1e-3, 0.1, 10))
    view(Progressed(2, 100, 2.4, 1e-3, 0.1, 20))
    assert len(cell.updates) == 1  # the opening
    clock.now += 1
    view(Evaluated(2, 1.9))
    assert "step 2/100 · loss 2.400 · held-out 1.900 · 100" not in cell.updates[-1]
    assert "step 2/100 · loss 2.400 · held-out 1.900 · 0.1 s" in cell.updates[-1]


def test_the_lines_text_is_the_same_at_the_start_and_at_the_end_for_nbval(view, cell, clock):
    view(Started("pirate", 4))
    _, _, first = cell.messages[0]
    train(view, clock, 4, 1.0)
    assert all("<progress" in bundle["text/html"] for _, update, bundle in cell.messages if update)
    view(FINISHED)
    last = dict(cell.outputs[0])
    assert last.pop("image/png")
    assert first == last == {"text/plain": "[nbpeft] pirate · 4 steps"}


@pytest.mark.parametrize(
    "end", [Finished("pirate@1", stopped=True, summary=(("loss", "1.5"),)), Failed("no memory")]
)
def test_a_run_cut_short_ends_static_too(view, cell, clock, end):
    view(Started("pirate", 100))
    train(view, clock, 100, 0.001, until=7)
    view(end)
    curve, table = cell.outputs
    assert "image/png" in curve
    assert "stopped" in table["text/html"] or "no memory" in table["text/html"]
    assert "7 of 100" in table["text/html"] or isinstance(end, Finished)


def test_nothing_to_draw_leaves_the_line(view, cell):
    view(Started("pirate", 100))
    view(Failed("no memory"))
    assert cell.outputs[0] == {"text/plain": "[nbpeft] pirate · 100 steps"}
    assert len(cell.outputs) == 2


def test_a_run_that_never_began_leaves_its_error_to_speak(view, cell):
    view(Planned(plan()))
    view(Failed("no rows"))
    assert len(cell.outputs) == 1


def test_an_evaluation_before_the_start_is_where_the_run_starts(view, cell, clock):
    view(Evaluated(0, 2.0))
    view(Started("pirate", 2))
    train(view, clock, 2, 1.0)
    assert "held-out 2.000 before" in cell.updates[0]


def test_runs_one_after_another_have_displays_of_their_own(view, cell, clock):
    for _ in range(2):
        view(Started("pirate", 2))
        view(Evaluated(0, 2.0))
        train(view, clock, 2, 1.0)
        view(FINISHED)
    sent = [bundle for _, _, bundle in cell.messages]
    assert sent[: len(sent) // 2] == sent[len(sent) // 2 :]
    assert ["image/png" in bundle for bundle in cell.outputs] == [True, False, True, False]
    assert len(cell.ids) == 3  # the two tables have none


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts(view, cell, clock, text):
    view(Planned(plan(name=text, method=text, model=text, notes=(text,))))
    view(Noted(text))
    view(Started(text, 2))
    view(Sampled(0, text, text))
    train(view, clock, 2, 1.0)
    clock.now += 1
    view(Sampled(2, text, text))
    view(Finished(text, stopped=False, summary=((text, text),)))
    view(Started(text, 2))
    view(Failed(text))
    for _, _, bundle in cell.messages:
        assert bundle["text/plain"].startswith("[nbpeft] ")
        assert not ACTING & set(bundle["text/plain"] + bundle.get("text/html", ""))
        tags = Tags(bundle.get("text/html", ""))
        assert set(tags.names) <= {
            *("div", "table", "thead", "tbody", "tr", "th", "td", "progress"),
            *("span", "svg", "path", "polyline", "circle"),
        }
        assert {name for name, _ in tags.attributes if name.startswith("on")} == set()
        assert sum(len(value) for value in bundle.values()) < 200_000


def test_losses_of_a_long_run_stay_bounded_and_whole():
    losses = Points()
    for step in range(1, 200_001):
        losses.add(step, float(step))
    points = list(losses)
    assert len(points) < 1_000
    assert points[0][0] < 1_000
    assert points[-1] == (200_000, 200_000.0)
    assert all(abs(step - loss) < 1 for step, loss in points)
    assert points == sorted(points)
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(points)]
    assert max(gaps) < 2_000


def test_the_choice_follows_the_shell(monkeypatch):
    class Shell:
        def __init__(self, *traits):
            self.traits = traits

        def has_trait(self, name):
            return name in self.traits

    for shell, expected in [
        (None, TerminalView), (Shell(), TerminalView), (Shell("kernel"), NotebookView),
    ]:  # fmt: skip
        monkeypatch.setattr("nbpeft.views.get_ipython", lambda shell=shell: shell)
        assert type(choose()) is expected
