"""The form over a real model: what it shows of a run, and that its three ways out are that run.

Without a frontend: the widgets are looked at as the kernel holds them. JupyterLab's own are in
tests/browser.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import re

import pytest
import torch
from written import EVIL, read

import nbpeft
from nbpeft import api, page, variables, widgets
from nbpeft.bindings import Bindings
from nbpeft.forms.view import View
from nbpeft.request import Request
from nbpeft.writing import cell_of

SMALL = {"data": "chats", "max_steps": 2, "rank": 4, "eval": 8}


class Cell:
    """A cell that once ran."""

    name = "cell-7"

    @contextlib.contextmanager
    def __call__(self):
        yield


@pytest.fixture
def open_form(tiny_pair, chats, monkeypatch):
    """`open_form(word=value, …)`: a form in a kernel with the tiny model; `.idle()`, `.names`."""
    names = {"model": tiny_pair[0], "tokenizer": tiny_pair[1], "chats": chats}
    jobs, forms = [], []
    monkeypatch.setattr(variables, "namespace", lambda: names)
    monkeypatch.setattr(widgets, "later", lambda: jobs.append)
    monkeypatch.setattr(widgets, "this_cell", Cell)

    def show(form):
        forms.append(form)

    monkeypatch.setattr(View, "show", show)

    def open_(name="a", **words):
        nbpeft.form(name, **{**SMALL, **words})
        open_.idle()
        return forms.pop()

    def idle():
        while jobs:
            jobs.pop(0)()

    open_.idle, open_.names, open_.forms, open_.jobs = idle, names, forms, jobs
    return open_


def type_(form, open_form, **texts):
    for word, text in texts.items():
        form.boxes[word].input.value = text
    open_form.idle()


def press(form, open_form, button):
    form.ways_out.buttons[button].click()
    open_form.idle()


def text(widget):
    return html.unescape(re.sub("<[^>]*>", " ", widget.value))


def wrong(form):
    return {w: text(b.note) for w, b in form.boxes._known.items() if "alert" in b.note.value}


def test_it_shows_what_the_run_comes_to_and_changes_nothing(open_form):
    before = {name: p.clone() for name, p in open_form.names["model"].named_parameters()}
    form = open_form()
    figures = text(form.figures)
    assert "61,440 of 1,410,688" in figures
    assert re.search(r"optimizer steps +2 ", figures)
    assert "378 to train on, 8 held out" in figures
    assert "free memory" in figures
    assert "<b" in form.rows.value
    assert "matey" in form.rows.value
    assert form.boxes["learning_rate"].input.placeholder == "0.0002 (method lora)"
    assert form.boxes["model"].input.placeholder == "model"
    type_(form, open_form, rank="8", max_steps="")
    assert "122,880 of 1,410,688" in text(form.figures)
    assert re.search(r"optimizer steps +144 ", text(form.figures))
    model = open_form.names["model"]
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert nbpeft.adapters() == {}


def test_rows_are_tokenized_once_for_as_long_as_they_stay_the_same(open_form, monkeypatch):
    from nbpeft.objectives import Objective

    asked = []
    rows = Objective.rows
    monkeypatch.setattr(Objective, "rows", lambda *a, **k: asked.append(1) or rows(*a, **k))
    form = open_form()
    type_(form, open_form, rank="8")
    type_(form, open_form, learning_rate="1e-3", batch_size="2")
    assert len(asked) == 1
    type_(form, open_form, max_length="16")
    assert len(asked) == 2
    open_form.names["chats"] = list(open_form.names["chats"])[:20]
    type_(form, open_form, max_length="")
    assert len(asked) == 3
    assert "12 to train on, 8 held out" in text(form.figures)


def test_errors_stand_beside_their_field_and_go_away(open_form):
    form = open_form(max_length=4096)
    assert set(wrong(form)) == {"max_length"}
    assert "window of 2048 tokens" in wrong(form)["max_length"]
    type_(form, open_form, max_length="", data="nothing_such")
    assert set(wrong(form)) == {"data"}
    type_(form, open_form, data="chats", objective="rl")
    assert set(wrong(form)) == {"reward"}
    type_(form, open_form, objective="sft", epochs=EVIL)
    assert set(wrong(form)) == {"epochs"}
    assert "<script" not in form.boxes["epochs"].note.value
    press(form, open_form, "run")
    assert "epochs can't be" in text(form.ways_out.said)
    type_(form, open_form, epochs="")
    assert wrong(form) == {}
    assert "61,440" in text(form.figures)


def test_a_run_that_does_not_fit_says_so(open_form, monkeypatch):
    monkeypatch.setattr("nbpeft.fitting.check.free_memory", lambda _device: 10_000)
    form = open_form()
    assert "would take" in text(form.problem)
    assert "10.0 kB is free" in text(form.problem)
    assert "61,440" in text(form.figures)
    form.folds.selected_index = 0
    open_form.idle()
    type_(form, open_form, fit="off")
    assert form.problem.value == ""


def test_what_another_method_has_not_is_kept_and_not_asked_for(open_form):
    form = open_form()
    type_(form, open_form, method="prompt")
    assert "rank" not in [control.word for control in form._fields]
    press(form, open_form, "insert")
    request, _ = read(form.ways_out.text.value)
    assert (request.method, request.rank) == ("prompt", None)
    type_(form, open_form, method="lora")
    assert form.boxes["rank"].value == "4"


def test_folds_are_filled_when_they_are_opened(open_form):
    form = open_form(use_rslora=True)
    shown = len(form.boxes._known)
    form.folds.selected_index = 1
    open_form.idle()
    assert len(form.boxes._known) > shown
    assert form.boxes["use_rslora"].value == "true"
    type_(form, open_form, use_rslora="", use_dora="true")
    press(form, open_form, "insert")
    assert read(form.ways_out.text.value)[0].fields == {"use_dora": True}


def weights(name):
    from safetensors.torch import load_file

    return load_file(nbpeft.adapters()[name].path / "adapter_model.safetensors")


def test_run_is_the_run_of_the_cell_that_it_inserts(open_form, events):
    form = open_form()
    press(form, open_form, "insert")
    request, rows = read(form.ways_out.text.value)
    assert request == Request("a", **SMALL)
    press(form, open_form, "run")
    assert "a is done" in text(form.ways_out.said)
    mine = weights("a")
    api.execute(request, Bindings(namespace=open_form.names, data=rows))
    assert all(torch.equal(value, mine[key]) for key, value in weights("a").items())
    assert nbpeft.adapters()["a"].request == nbpeft.adapters()["a@1"].request


def test_show_code_is_the_script_of_that_run(open_form):
    form = open_form()
    press(form, open_form, "code")
    script = nbpeft.show_code("a", model="model", tokenizer="tokenizer", **SMALL)
    assert form.ways_out.text.value == script.text != ""
    compile(script.text, "script", "exec")
    type_(form, open_form, method="bottleneck")
    press(form, open_form, "code")
    assert form.ways_out.text.value == ""
    assert "bottleneck adapters are nbpeft's own" in text(form.ways_out.said)
    type_(form, open_form, data="nothing_such")
    press(form, open_form, "code")
    assert "nothing_such" in text(form.ways_out.said)
    type_(form, open_form, data="chats", method="lora")
    open_form.names["chats"] = []  # and no field is changed
    press(form, open_form, "code")
    assert form.ways_out.text.value == "", "rows are looked at as they are when it is pressed"


def test_a_run_that_fails_leaves_the_form_as_it_is(open_form, events, monkeypatch):
    form = open_form()
    monkeypatch.setattr(form.ways_out, "_run", lambda *_: 1 / 0)
    press(form, open_form, "run")
    assert "ZeroDivisionError" in text(form.ways_out.said)
    assert not any(button.disabled for button in form.ways_out.buttons.values())


def test_the_page_inserts_the_cell_below_the_forms(open_form, monkeypatch):
    told = []
    monkeypatch.setattr(page, "insert", lambda cell, *, below: told.append((cell, below)) or True)
    form = open_form()
    press(form, open_form, "insert")
    ((cell, below),) = told
    assert (read(cell)[0], below) == (Request("a", **SMALL), Cell.name)
    assert form.ways_out.text.value == ""


def test_inline_rows_of_a_cell_stay_with_it(open_form):
    from nbpeft.magics.finetune import finetune

    rows = [{"prompt": f"{n}?", "completion": EVIL} for n in range(12)]
    line, _, body = cell_of(Request("b", max_steps=2), rows).partition("\n")
    finetune(f"{line.removeprefix('%%finetune ')} --form", body)
    open_form.idle()
    form = open_form.forms.pop()
    assert form.boxes["name"].value == "b"
    assert "11 to train on, 1 held out" in text(form.figures)
    assert "<script" not in form.rows.value
    press(form, open_form, "insert")
    assert read(form.ways_out.text.value) == (Request("b", max_steps=2), rows)


@pytest.mark.parametrize(
    ("magic", "line", "objective"),
    [
        ("finetune", "", "sft"),
        ("distill", "", "context-distillation"),
        ("finetune", "--form", "sft"),
    ],
)
def test_the_magics_open_it(open_form, magic, line, objective):
    getattr(importlib.import_module(f"nbpeft.magics.{magic}"), magic)(line)
    open_form.idle()
    form = open_form.forms.pop()
    assert form.boxes["objective"].value == objective
    assert form.boxes["name"].value == "tuned"
    assert set(wrong(form)) == {"context" if magic == "distill" else "data"}


def test_a_distillation_is_opened_with_its_context(open_form):
    from nbpeft.magics.distill import distill

    distill("brief --prompts tiny:questions --form", "Be brief.")
    open_form.idle()
    form = open_form.forms.pop()
    assert form.boxes["context"].value == "Be brief."
    press(form, open_form, "insert")
    assert form.ways_out.text.value == "%%distill brief --prompts tiny:questions\nBe brief."


def test_words_that_cannot_be_are_refused_before_it_opens(open_form):
    with pytest.raises(nbpeft.NbPeftError, match="no setting 'rnak'"):
        nbpeft.form("a", rnak=4)
    with pytest.raises(nbpeft.NbPeftError, match="no method 'lorra'"):
        nbpeft.form("a", method="lorra")
    assert open_form.jobs == []


def test_without_a_notebook_it_says_what_to_type(monkeypatch, capsys):
    monkeypatch.setattr(widgets, "later", lambda: None)
    nbpeft.form()
    assert "%finetune NAME --data X" in capsys.readouterr().out
