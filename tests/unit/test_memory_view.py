"""%peft_memory in a notebook: a table that stays, and a button for each that can be let go of.

Without a frontend: the widgets are looked at as the kernel holds them. JupyterLab's own are in
tests/browser.
"""

from __future__ import annotations

import weakref

import pytest
import torch
from test_memory import shell  # noqa: F401  the fixture
from traitlets import Any

import nbpeft
from nbpeft import widgets
from nbpeft.holding import view as view_

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def opened(shell, monkeypatch):  # noqa: F811
    """`opened()`: the view of the memory as it is now; `.displays`, and `.jobs` for the kernel."""
    displays, jobs = {}, []

    def show(bundle, *, raw, display_id="buttons"):
        displays[display_id] = bundle

    monkeypatch.setattr(view_, "display", show)
    monkeypatch.setattr(view_, "update_display", show)
    monkeypatch.setattr(view_, "get_ipython", lambda: shell)
    monkeypatch.setattr(nbpeft.variables, "namespace", lambda: shell.user_ns)

    def open_():
        view = view_.View(nbpeft.memory(), jobs.append)
        view.show()
        return view

    open_.displays, open_.jobs, open_.shell = displays, jobs, shell
    return open_


def click(opened, view, name):
    view.buttons[name].click()
    opened.jobs.pop(0)()


def table(opened):
    (name,) = set(opened.displays) - {"buttons"}
    return opened.displays[name]


def test_a_button_frees_what_it_names_and_the_table_says_so(opened):
    opened.shell.run_cell("a = torch.zeros(2**20); b = torch.zeros(2**21)")
    gone, stays = weakref.ref(opened.shell.user_ns["a"]), weakref.ref(opened.shell.user_ns["b"])
    view = opened()
    assert set(table(opened)) == {"text/plain", "text/html"}
    assert view.buttons["a"].description == "free a · 4.2 MB"
    click(opened, view, "a")
    assert gone() is None
    assert "a" not in opened.shell.user_ns
    assert stays() is not None
    assert "a" not in view.buttons
    assert "let go of a: " in table(opened)["text/plain"]


def test_outputs_tracebacks_and_caches_have_one_too(opened, capsys):
    opened.shell.run_cell("torch.zeros(2**20)", store_history=True)
    opened.shell.run_cell("def fails():\n    big = torch.zeros(2**20)\n    1 / 0\nfails()")
    capsys.readouterr()
    view = opened()
    (output,) = [name for name in view.buttons if name.startswith("Out[")]
    assert view.buttons["ZeroDivisionError"].description.startswith("free traceback of ZeroDiv")
    for name in (output, "ZeroDivisionError"):
        click(opened, view, name)
        assert name not in view.buttons
    left = {held.kind for held in nbpeft.memory().large}
    assert not {"output", "traceback"} & left
    click(opened, view, "caches")
    assert "caches" in view.buttons


def test_names_of_one_object_go_together(opened):
    opened.shell.run_cell("a = b = torch.zeros(2**20)")
    gone = weakref.ref(opened.shell.user_ns["a"])
    click(opened, opened(), "a, b")
    assert gone() is None


def test_an_adapter_has_one_once_it_can_be_spared(opened, tiny_pair):
    model, tokenizer = tiny_pair
    opened.shell.user_ns |= {"model": model, "tokenizer": tokenizer}
    del model, tiny_pair
    nbpeft.attach("fresh", model=opened.shell.user_ns["model"], method="lora", rank=64)
    assert "fresh" not in opened().buttons
    nbpeft.save("fresh", model=opened.shell.user_ns["model"])
    nbpeft.attach(None, model=opened.shell.user_ns["model"])
    view = opened()
    click(opened, view, "fresh@1")
    assert "fresh@1" not in view.buttons
    (handle,) = nbpeft.session.current().handles
    assert "fresh@1" not in handle.mounts
    nbpeft.attach("fresh", model=opened.shell.user_ns["model"])  # the shelf has it


def test_what_is_gone_meanwhile_is_one_line(opened):
    opened.shell.run_cell("a = torch.zeros(2**20)")
    view = opened()
    del opened.shell.user_ns["a"]
    click(opened, view, "a")
    assert "There is no variable 'a' to let go of." in table(opened)["text/plain"]
    assert "a" not in view.buttons


def test_hostile_names_stay_text(opened):
    opened.shell.user_ns[EVIL] = torch.zeros(2**20)
    view = opened()
    assert EVIL not in table(opened)["text/html"]
    click(opened, view, EVIL)
    assert EVIL not in table(opened)["text/html"]
    assert "let go of &lt;script&gt;" in table(opened)["text/html"]


def test_a_click_waits_until_no_cell_runs(opened):
    opened.shell.run_cell("a = torch.zeros(2**20)")
    view = opened()
    view.buttons["a"].click()
    assert "a" in opened.shell.user_ns  # the kernel's thread has not been asked yet
    opened.jobs.pop(0)()
    assert "a" not in opened.shell.user_ns


def test_a_saved_notebook_says_that_the_buttons_are_gone(opened):
    opened()
    assert opened.displays["buttons"]["text/plain"] == widgets.GONE
    assert "model_id" in opened.displays["buttons"][widgets.MIME]


def test_it_is_a_view_in_a_kernel_and_text_in_a_terminal(shell, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    with pytest.raises(NotImplementedError):
        nbpeft.memory()._ipython_display_()
    shell.run_cell("nbpeft.memory()")
    assert "[nbpeft] memory" in capsys.readouterr().out
    shell.add_traits(kernel=Any())
    with pytest.raises(AttributeError):  # this kernel has no loop
        nbpeft.memory()._ipython_display_()
