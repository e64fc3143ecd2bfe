"""The page in front of a kernel: hello, what it is told after each cell, and good-bye."""

from __future__ import annotations

import pytest
from shells import new_shell
from test_views_widget import FakeKernel
from traitlets import Any

import nbpeft
import nbpeft.session
from nbpeft import page
from nbpeft.listing.now import now


@pytest.fixture
def shell(monkeypatch):
    """A kernel's shell, as far as the page goes; `.told` is what its comm has sent."""
    told = []

    class Comm:
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


def test_nobody_is_told_before_they_say_hello(shell):
    shell.run_cell("1")
    assert shell.told == []
    hello(shell)
    shell.run_cell("2")
    assert [set(news) for news in shell.told] == [{"attached", "memory"}] * 2


def test_what_is_told_is_how_things_stand(shell, tiny_pair):
    assert now()["attached"] == "base"
    assert nbpeft.session._current is None  # to look makes no session
    assert now()["memory"].endswith("B")
    model, _ = tiny_pair
    hello(shell)
    nbpeft.attach("fresh", model=model, method="lora")
    shell.run_cell("1")
    assert shell.told[-1]["attached"] == "fresh@1"


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
