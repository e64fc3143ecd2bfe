"""Cells from the toolbar and the palette, and YAML's colours in bodies, in a real JupyterLab."""

from __future__ import annotations

import re

import nbformat
import pytest
from playwright.sync_api import expect

MIME = "jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.mimeType)"


@pytest.fixture
def empty(lab):
    lab.open(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")]))
    return lab


def sources(lab):
    cells = "jupyterapp.shell.currentWidget.content.widgets"
    return lab.page.evaluate(f"{cells}.map(cell => cell.model.sharedModel.getSource())")


def test_a_notebook_from_the_toolbar_alone(empty):
    lab = empty
    for item in ("The embedded model", "Tune the model", "List adapters"):
        lab.panel.get_by_role("button", name="nbpeft", exact=True).click()
        lab.page.locator(".lm-Menu-item", has_text=item).click()
    first, second, third, last = sources(lab)
    assert first == "%load_ext nbpeft"
    assert "load_tiny" in second
    assert third.startswith("%%finetune pirate --data tiny:pirate\n")
    assert last == "%peft_adapters"
    lab.run_all()
    assert lab.errors() == []
    expect(lab.outputs.last).to_contain_text("pirate")
    lab.screenshot("cells")


def test_every_cell_of_the_palette_runs(empty):
    lab = empty
    listed = "jupyterapp.commands.listCommands().filter(id => id.startsWith('nbpeft:insert-'))"
    commands = lab.page.evaluate(listed)
    assert commands[0] == "nbpeft:insert-model"
    # Forms are tested apart, and a distillation takes its time, and is the README's own.
    apart = {f"nbpeft:insert-{name}" for name in ("form", "distill-form", "distill")}
    wanted = [command for command in commands if command not in apart]
    assert len(wanted) == len(commands) - 3
    for command in wanted:
        lab._command(command)
    lab.run_all()
    assert lab.errors() == []
    assert len(sources(lab)) == len(wanted) + 1  # one loads nbpeft
    lab.page.keyboard.press("Control+Shift+C")
    lab.page.locator(".lm-CommandPalette-input").fill("tune the model")
    expect(lab.page.locator(".lm-CommandPalette-item").first).to_contain_text("%%finetune")


def test_a_form_opens_at_once(empty):
    lab = empty
    lab.panel.get_by_role("button", name="nbpeft", exact=True).click()
    lab.page.locator(".lm-Menu-item", has_text="Tune with a form").click()
    prompts = lab.panel.locator(".jp-CodeCell .jp-InputPrompt")
    expect(prompts).to_have_text(["[1]:", "[2]:"], timeout=60_000)
    lab._command("nbpeft:insert-distill-form")
    expect(prompts).to_have_text(["[1]:", "[2]:", "[3]:"], timeout=60_000)
    assert sources(lab) == ["%load_ext nbpeft", "%finetune", "%distill"]
    expect(lab.panel.get_by_label("name", exact=True)).to_have_count(2)
    expect(lab.panel.get_by_label("context", exact=True)).to_be_visible()


def test_bodies_have_the_colours_of_yaml(lab):
    codes = [
        "%load_ext nbpeft",
        "%%finetune pirate --data tiny:pirate\nlearning_rate: 1e-3  # a number",
        "%%distill brief --prompts tiny:questions\nmax_steps: 4\n---\nBe brief.",
        "learning_rate = 1e-3",
    ]
    lab.open(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes]))
    kinds = ["text/x-ipython", "text/x-yaml", "text/x-yaml", "text/x-ipython"]
    lab.page.wait_for_function(f"({MIME}).join() === '{','.join(kinds)}'")
    line = lab.panel.locator(".jp-CodeCell").nth(1).locator(".cm-line").nth(1)
    key = line.locator("span", has_text="learning_rate").first
    expect(key).to_have_text(re.compile("^learning_rate"))
    ink = "it => getComputedStyle(it).color"
    assert key.evaluate(ink) != line.evaluate(ink)
    # As it is typed, and taken back.
    last = lab.panel.locator(".jp-CodeCell").nth(3)
    last.locator(".cm-content").click()
    lab.page.keyboard.press("Control+a")
    lab.page.keyboard.type("%%finetune")
    lab.page.wait_for_function(f"({MIME})[3] === 'text/x-yaml'")
    lab.page.keyboard.press("Control+a")
    lab.page.keyboard.type("x = 1")
    lab.page.wait_for_function(f"({MIME})[3] === 'text/x-ipython'")
