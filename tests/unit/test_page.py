"""The page in front of a kernel: hello, what it is told after each cell, and good-bye."""

from __future__ import annotations

import json
import math

import pytest
from shells import new_shell
from test_views_widget import FakeKernel
from traitlets import Any

import nbpeft
import nbpeft.session
from nbpeft import page
from nbpeft.events import Finished, Progressed, Started
from nbpeft.listing.now import now
from nbpeft.views import NotebookView


@pytest.fixture
def shell(monkeypatch):
    """A kernel's shell, as far as the page goes; `.told` is what its comm has sent."""
    told = []

    class Comm:
        comm_id = "c0"

        def send(self, data):
            told.append(data)

        def close(self):
            told.append("closed")

    shell = new_shell()
    shell.add_traits(kernel=Any(), told=Any())
    shell.kernel, shell.told = FakeKernel(), told
    monkeypatch.setattr("comm.create_comm", lambda **_: Comm())
    monkeypatch.setattr(page, "_page", page.Page())
    monkeypatch.setattr(nbpeft.session, "_current", None)
    shell.run_line_magic("load_ext", "nbpeft")
    yield shell
    page.closed(shell)


def hello(shell):
    shell.kernel.control_handlers["nbpeft_hello"]("stream", "who", {"content": {}})


def test_hello_is_answered_with_the_comm_s_id(shell):
    """So that a page that was loaded anew finds it while a cell runs."""
    hello(shell)
    _, kind, content, _ = shell.kernel.replies[-1]
    assert kind == "nbpeft_hello_reply"
    assert content == {"status": "ok", "done": True, "comm": "c0"}
    page.closed(shell)
    assert page._page.comm_id is None


def test_a_file_to_take_away_is_told_by_its_place_from_the_notebook(shell, working_folder):
    page.tell_file(working_folder / "pirate.zip", 9)
    assert shell.told == []
    hello(shell)
    page.tell_file(working_folder / "a b" / "pirate.zip", 9)
    assert shell.told[-1] == {"file": {"path": "a b/pirate.zip", "size": 9}}
    page.tell_file(working_folder.parent / "pirate.zip", 9)  # the page can't reach it
    assert len(shell.told) == 2


def test_nobody_is_told_before_they_say_hello(shell):
    shell.run_cell("1")
    assert shell.told == []
    hello(shell)
    shell.run_cell("2")
    assert [set(news) for news in shell.told] == [{"standing"}] * 2


def test_what_is_told_is_how_things_stand(shell, tiny_pair, monkeypatch, capsys):
    assert now() | {"memory": ""} == {"attached": "base", "memory": "", "adapters": []}
    assert now()["memory"].endswith("B")
    model, _ = tiny_pair
    hello(shell)
    nbpeft.attach("fresh", model=model, method="lora")
    nbpeft.attach("other", model=model, method="ia3")
    shell.run_cell("1")
    news = shell.told[-1]["standing"]
    assert news["attached"] == "other@1"
    assert {a.pop("name"): a for a in news["adapters"]} == {
        "fresh": {"about": "by hand · lora", "attached": False, "versions": 1, "own": True},
        "other": {"about": "by hand · ia3", "attached": True, "versions": 1, "own": True},
    }
    assert json.dumps(news)
    monkeypatch.setattr(nbpeft.session.Session, "glance", lambda _: 1 / 0)
    capsys.readouterr()
    shell.run_cell("2")  # what can't be told is no error of the cell's, and is told
    assert "Error" not in "".join(capsys.readouterr())
    assert shell.told[-1] == {"standing": {"problem": "division by zero"}}


def test_a_page_that_comes_in_the_middle_of_a_run_is_told_of_it(shell):
    view = NotebookView(publish=lambda *_, **__: None)
    view(Started("pirate", 4, run="a1"))
    view(Progressed(1, 4, math.nan, 1e-3, 1.0, 10))
    assert shell.told == []
    hello(shell)
    _, news = shell.told
    assert news["run"]["title"] == "pirate: step 0 of 4 (0%)"  # the next is due in 0.2 s
    view(Progressed(4, 4, 1.0, 1e-3, 1.0, 10))
    assert shell.told[-1]["run"]["losses"] == [[4, 1.0]]
    assert json.dumps(shell.told[-1], allow_nan=False)
    view(Finished("pirate@1", stopped=False, summary=()))
    assert shell.told[-1]["run"]["ended"] is True
    del shell.told[:]
    hello(shell)
    assert [set(news) for news in shell.told] == [{"standing"}]


def test_after_unloading_nothing_is_left(shell):
    hello(shell)
    shell.run_line_magic("unload_ext", "nbpeft")
    del shell.told[:]
    shell.run_cell("1")
    assert shell.told == []
    assert shell.kernel.control_handlers == {}
    assert not page.shows_widgets()


def test_reloading_asks_anew(shell):
    hello(shell)
    shell.run_line_magic("reload_ext", "nbpeft")
    assert "closed" in shell.told
    assert not page._page.answered
    hello(shell)
    del shell.told[:]
    shell.run_cell("1")
    assert len(shell.told) == 1  # and is heard once
