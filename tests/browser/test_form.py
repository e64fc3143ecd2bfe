"""The form in a real JupyterLab: filled in by hand, run there, and as the cell that it inserts."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect
from test_live import reopened

SETUP = (
    "%load_ext nbpeft\nimport nbpeft\nmodel, tokenizer = nbpeft.load_tiny()\n"
    "chats = nbpeft.load_data('pirate')"
)
SOON = 20_000


@pytest.fixture
def form(lab):
    """A notebook whose second cell has opened the form."""
    cells = [nbformat.v4.new_code_cell(code) for code in (SETUP, "%finetune")]
    lab.open(nbformat.v4.new_notebook(cells=cells))
    lab.run_all()
    return lab


def fill(lab, word, text):
    lab.panel.get_by_label(word, exact=True).fill(text)
    lab.panel.get_by_label(word, exact=True).press("Tab")


def press(lab, label):
    lab.panel.get_by_role("button", name=label, exact=True).click()


def records(lab):
    found = sorted((lab.folder / "adapters").glob("*/*/nbpeft.json"))
    return [json.loads(path.read_text()) for path in found]


def test_filled_in_run_and_inserted(form):
    lab = form
    expect(lab.panel.get_by_role("alert")).to_contain_text("nothing to learn from")
    fill(lab, "name", "pirate")
    fill(lab, "data", "chats")
    fill(lab, "max steps", "3")
    fill(lab, "rank", "four")
    expect(lab.panel.get_by_role("alert")).to_contain_text("rank can't be 'four'")
    fill(lab, "rank", "4")
    expect(lab.panel.get_by_role("alert")).to_have_count(0, timeout=SOON)
    expect(lab.panel.get_by_text("61,440 of 1,410,688")).to_be_visible()
    expect(lab.panel.get_by_text("free memory")).to_be_visible(timeout=SOON)
    lab.screenshot("form")
    lab.picture("form", first=1, last=1)
    assert not records(lab), "a look changes nothing"

    press(lab, "Run")
    expect(lab.panel.get_by_text("pirate is done")).to_be_visible(timeout=SOON)
    outputs = lab.panel.locator(".jp-Cell").nth(1).locator("img[src^='data:image/png']")
    expect(outputs.first).to_be_visible()
    lab.screenshot("form-run")
    press(lab, "Show code")
    code = lab.panel.locator("textarea")
    expect(code).to_have_value(re.compile("^.*from trl import SFTConfig, SFTTrainer", re.DOTALL))
    lab.screenshot("form-code")
    press(lab, "Insert cell")
    inserted = "jupyterapp.shell.currentWidget.content.widgets[2]?.model.sharedModel.getSource()"
    lab.page.wait_for_function(f"{inserted} !== undefined")
    cell = lab.page.evaluate(inserted)
    assert cell == "%%finetune pirate --data chats\nmax_steps: 3\nrank: 4"
    lab.page.evaluate("void jupyterapp.commands.execute('notebook:run-cell', {})")
    lab.page.wait_for_function(
        "jupyterapp.shell.currentWidget.content.widgets[2]?.model.executionCount"
    )
    lab._wait_for_idle(SOON)
    one, other = records(lab)
    assert one["metrics"]["loss"] == pytest.approx(other["metrics"]["loss"], abs=1e-5)
    assert one["request"] == other["request"]
    assert lab.errors() == []

    # What is left of it when its kernel is gone: a line, and what it ran.
    lab.save()
    saved = nbformat.read(lab.folder / "notebook.ipynb", as_version=4)
    kinds = [kind for output in saved.cells[1].outputs for kind in output.get("data", {})]
    assert "image/png" in kinds
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(saved)
    assert "pirate@1 is trained and kept" in page
    assert "run the cell again" in page
    assert "displaying widget" not in page
    reopened(lab, saved, "saved.ipynb")
    expect(lab.panel.get_by_text("run the cell again")).to_be_visible()
    expect(lab.panel).not_to_contain_text("displaying widget")


def test_its_run_is_stopped_and_told_of(form):
    lab = form
    fill(lab, "name", "long")
    fill(lab, "data", "chats")
    fill(lab, "max steps", "4000")
    expect(lab.panel.get_by_text("free memory")).to_be_visible(timeout=SOON)
    press(lab, "Run")
    live = lab.panel.locator(".nbpeft-live")
    expect(live).to_contain_text(re.compile(r"long: step \d\d"), timeout=60_000)
    live.get_by_role("button", name="Stop").click()
    expect(live).to_have_count(0, timeout=10_000)
    expect(lab.panel.get_by_role("status").filter(has_text="kept")).to_be_visible()
    expect(lab.panel.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    (record,) = records(lab)
    assert record["partial"]
