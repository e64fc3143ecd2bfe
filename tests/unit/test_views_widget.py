"""The live part as a widget: what the page is sent, how often, and what stays."""

from __future__ import annotations

import json
import math

import pytest
from shells import new_shell
from test_rendering_text import ACTING, HOSTILE
from test_views_notebook import FINISHED, Frontend
from test_views_terminal import Clock, train
from traitlets import Any

from nbpeft import config, page
from nbpeft.events import Evaluated, Failed, Figure, Progressed, Sampled, Started
from nbpeft.stop import Stop
from nbpeft.views import NotebookView, choose
from nbpeft.views import widget as widget_
from nbpeft.views.widget import LiveWidget, WidgetLive

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cell(clock):
    return Frontend(clock)


@pytest.fixture
def sent(monkeypatch, clock):
    """Every state that a page is sent, and when."""
    states = []

    def send_state(widget, key=None):
        states.append((clock.now, dict(widget.run)))

    monkeypatch.setattr(LiveWidget, "send_state", send_state)
    return states


@pytest.fixture
def view(cell, clock, sent):
    return NotebookView(publish=cell, clock=clock, live=lambda: WidgetLive(clock))


def test_it_is_displayed_once_and_changes_by_itself(view, cell, clock, sent):
    view(Started("pirate", 40, run="a1"))
    view(Evaluated(0, 2.3, (Figure("accuracy", 0.5, share=True),)))
    train(view, clock, 40, 0.4)
    first, *more = [bundle for _, update, bundle in cell.messages if update]
    assert set(first) == {VIEW, "text/html", "text/plain"}
    assert more == []  # in 16 seconds
    states = [state for _, state in sent]
    assert [len(state["losses"][0]["points"]) for state in states[-3:]] == [38, 39, 40]
    last = states[-1]
    assert (last["id"], last["step"], last["steps"], last["ended"]) == ("a1", 40, 40, False)
    assert dict(last["figures"])["held-out accuracy"] == "50%"
    assert last["losses"][1]["points"] == [[0, 2.3]]
    curves = {curve["name"]: curve for curve in last["curves"]}
    assert len(curves["learning rate"]["points"]) == 40
    assert curves["held-out accuracy"]["kind"] == "share"


def test_the_html_beside_it_is_renewed_for_a_notebook_saved_meanwhile(view, cell, clock):
    view(Started("pirate", 100))
    train(view, clock, 100, 1.0)
    pages = [b["text/html"] for _, update, b in cell.messages if update and "text/html" in b]
    assert 4 <= len(pages) <= 6
    assert "step 60 of 100" in pages[3] or "step 61 of 100" in pages[3]
    assert len({json.dumps(b[VIEW]) for _, _, b in cell.messages if VIEW in b}) == 1


@pytest.mark.parametrize("end", [FINISHED, Failed("no memory")])
def test_in_the_end_it_is_over_and_a_picture_stands_there(view, cell, clock, sent, end):
    view(Started("pirate", 4))
    train(view, clock, 4, 1.0)
    view(end)
    assert set(cell.outputs[0]) == {"text/plain", "image/png"}
    assert sent[-1][1]["ended"] is True
    assert VIEW not in json.dumps([sorted(bundle) for bundle in cell.outputs])


def test_at_a_thousand_steps_a_second_ten_states_go_out_and_the_last_one(view, clock, sent):
    view(Started("pirate", 2_000))
    for step in range(1, 2_001):
        clock.now += 0.001
        view(Progressed(step, 2_000, 2.0 + math.sin(step), 1e-3, step / 1000, step, 900.0, 5, 5))
    assert sent[-1][1]["step"] == 2_000
    times = [time for time, _ in sent]
    assert all(sum(start <= time < start + 1 for time in times) <= 10 for start in times)
    assert sum(len(c["points"]) for c in sent[-1][1]["losses"]) <= 500
    assert len(json.dumps(sent[-1][1])) < 20_000


def test_the_widgets_of_the_latest_runs_are_kept(view, clock, sent):
    for _ in range(12):
        view(Started("pirate", 2))
        train(view, clock, 2, 1.0)
        view(FINISHED)
    latest = list(widget_._latest)
    assert len(latest) == 8
    assert all(widget.comm is not None for widget in latest)
    view(Started("pirate", 2))
    train(view, clock, 2, 1.0)
    assert latest[0].comm is None  # closed


def test_a_loss_that_is_no_number_is_a_gap(view, clock, sent):
    view(Started("pirate", 2))
    view(Progressed(1, 2, math.nan, 1e-3, 0.1, 10))
    clock.now += 1
    view(Progressed(2, 2, math.inf, 1e-3, 0.1, 10))
    points = sent[-1][1]["losses"][0]["points"]
    assert json.dumps(points, allow_nan=False) == "[[1, null], [2, null]]"


def test_answers_grow_and_the_first_one_stays(view, clock, sent):
    view(Started("pirate", 100))
    for step in range(0, 100, 5):
        clock.now += 1
        view(Sampled(step, "Who are you?", f"Answer {step}."))
    steps = [sample["step"] for sample in sent[-1][1]["samples"]]
    assert steps == [0, *range(45, 100, 5)]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_act_in_no_state(view, clock, sent, text):
    view(Started(text, 2))
    view(Sampled(0, text, text))
    clock.now += 1
    view(Progressed(1, 2, 2.0, 1e-3, 0.1, 10, figures=(Figure(text, 1.0),)))
    state = sent[-1][1]
    assert not ACTING & set("".join(_texts(state)))


def _texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def test_its_button_asks_that_run_to_stop():
    widget = LiveWidget(run={})
    with Stop() as stop, Stop() as other:
        widget._heard(widget, {"stop": stop.run}, [])
        assert stop.asked
        assert not other.asked
    for odd in ({"stop": stop.run}, {"stop": None}, {"stop": ["x"]}, {}, "stop", None):
        widget._heard(widget, odd, [])


class FakeKernel:
    """As much of ipykernel's as `Page` touches."""

    def __init__(self):
        self.control_handlers, self.replies, self.session = {}, [], self

    def send(self, stream, kind, content, parent, ident):
        self.replies.append((stream, kind, content, ident))


def test_stop_comes_on_the_control_channel_and_is_answered():
    kernel = FakeKernel()
    here = page.Page()
    here.open(kernel)
    handler = kernel.control_handlers["nbpeft_stop"]
    with Stop() as stop:
        for run in ("another", None, [stop.run]):
            handler("stream", "who", {"content": {"run": run}})
        assert not stop.asked
        handler("stream", "who", {"content": {"run": stop.run}})
        assert stop.asked
    handler("stream", "who", {"content": {"run": stop.run}})  # it has ended meanwhile
    assert [content["done"] for _, _, content, _ in kernel.replies] == [
        *(False, False, False), True, False,
    ]  # fmt: skip
    assert kernel.replies[0][:2] + kernel.replies[0][3:] == ("stream", "nbpeft_stop_reply", "who")
    here.close(kernel)
    assert kernel.control_handlers == {}


@pytest.fixture
def shell(monkeypatch):
    """A kernel's shell, as far as choosing goes."""
    shell = new_shell()
    shell.add_traits(kernel=Any())
    for place in ("nbpeft.views", "IPython.core.getipython"):
        monkeypatch.setattr(f"{place}.get_ipython", lambda: shell)
    return shell


def test_a_widget_is_chosen_where_the_page_has_said_that_it_shows_them(shell, monkeypatch):
    monkeypatch.setattr(page, "_page", page.Page())
    assert choose()._new_live is not WidgetLive
    kernel = FakeKernel()
    page._page.open(kernel)
    kernel.control_handlers["nbpeft_hello"]("stream", "who", {"content": {}})
    assert choose()._new_live is WidgetLive
    page._page.close(kernel)
    assert choose()._new_live is not WidgetLive
    shell.user_ns["__vsc_ipynb_file__"] = "a.ipynb"
    assert choose()._new_live is WidgetLive
    monkeypatch.setattr(config.settings(), "widgets", False)
    assert choose()._new_live is not WidgetLive
