"""The live display as HTML in a real JupyterLab: watched while its cell runs, saved, reopened."""

from __future__ import annotations

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect

EVIL = "<script>window.planted=1</script></table><img src=x onerror='window.planted=2'>"
SETUP = """
%load_ext nbpeft
import nbpeft
model, tokenizer = nbpeft.load_tiny()
chats = nbpeft.load_data("pirate")
"""
# Held up twice, so that there is a moment to look at whatever the machine does.
HELD = """
import time
from pathlib import Path
from nbpeft.places.watch import Watch
on_log = Watch.on_log
def held(watch, args, state, control, **others):
    step = state.global_step
    if step in (8, 20):
        time.sleep(0.3)  # so that this step is shown
    on_log(watch, args, state, control, **others)
    while step in (8, 20) and not Path(f"on-from-{step}").exists():
        time.sleep(0.05)
Watch.on_log = held
"""
RUN = "%finetune pirate --data chats --max-steps 40 --learning-rate 3e-3 --eval 8"


@pytest.fixture
def notebook():
    code = f"{SETUP}%config NbPeft.widgets = False\n{HELD}{RUN}"
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])


def start(lab):
    lab.page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")


def test_one_display_grows_in_place_and_stays_as_a_picture(lab, notebook):
    lab.open(notebook)
    start(lab)
    bar = lab.outputs.locator("progress")
    display = bar.locator("xpath=ancestor::div[contains(@class, 'jp-OutputArea-child')]")
    outputs = lab.panel.locator(".jp-OutputArea-child")
    for step in (8, 20):
        expect(bar).to_have_attribute("value", str(step), timeout=120_000)
        expect(outputs).to_have_count(2)  # the plan, and this
        expect(display).to_contain_text(f"pirate: step {step} of 40")
        if step == 8:
            (lab.folder / "on-from-8").touch()
    expect(bar).to_have_attribute("max", "40")
    for text in ("tokens/s", "learning rate", "memory", "held-out loss", "before training"):
        expect(display).to_contain_text(text)
    curve = display.locator("svg polyline").first
    assert len(curve.get_attribute("points").split()) == 20
    assert curve.bounding_box()["width"] > 200
    lab.screenshot("live")
    lab.save()  # as autosave may do
    in_the_middle = nbformat.read(lab.folder / "notebook.ipynb", as_version=4)
    assert "<progress" in in_the_middle.cells[0].outputs[1].data["text/html"]

    (lab.folder / "on-from-20").touch()
    expect(bar).to_have_count(0, timeout=120_000)
    expect(outputs).to_have_count(3)
    expect(outputs.nth(1).locator("img")).to_be_visible()
    expect(outputs.nth(2)).to_contain_text("pirate@1 is trained and kept")
    expect(outputs.nth(2)).to_contain_text("answer after")
    assert lab.errors() == []
    lab.screenshot("live-end")
    lab.save()

    saved = nbformat.read(lab.folder / "notebook.ipynb", as_version=4)
    _, picture, table = saved.cells[0].outputs
    assert set(picture.data) == {"image/png", "text/plain"}
    assert set(table.data) == {"text/html", "text/plain"}
    assert "<progress" not in nbformat.writes(saved)
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(saved)
    assert "data:image/png;base64," in page
    assert "answer after" in page

    reopened(lab, saved, "untrusted.ipynb")
    expect(lab.outputs.locator("img")).to_be_visible()
    expect(lab.outputs.last.locator("table")).to_contain_text("answer after")
    lab.screenshot("live-untrusted")

    # A kernel that died in the middle of its run leaves this.
    reopened(lab, in_the_middle, "cut-off.ipynb")
    expect(lab.outputs.locator("progress")).to_have_attribute("value", "20")
    expect(lab.outputs.locator("table").last).to_contain_text("before training")
    expect(lab.outputs.last).to_contain_text("bottom: trained rows, held-out rows")
    lab.screenshot("live-cut-off")


def test_hostile_answers_stay_text_while_the_cell_runs(lab):
    code = f"""
import time
from nbpeft.events import Progressed, Sampled, Started
from nbpeft.views import choose
view = choose()
view(Started("pirate", 9))
view(Sampled(0, {EVIL!r}, {EVIL!r}))
time.sleep(0.3)
view(Progressed(4, 9, 2.0, 1e-3, 1.0, 10))
"""
    lab.open(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]))
    lab.run_all()
    expect(lab.outputs.locator("progress")).to_have_attribute("value", "4")
    cells = lab.outputs.locator("td", has_text="window.planted")
    assert [cell.inner_text() for cell in cells.all()] == [EVIL, EVIL]
    assert lab.page.evaluate("window.planted") is None
    lab.screenshot("live-hostile")


def reopened(lab, notebook, name):
    """Put it beside the first with no signature of this server's, and open it."""
    notebook.metadata["reopened"] = name
    nbformat.write(notebook, lab.folder / name)
    lab.goto(name)
    trusted = "jupyterapp.shell.currentWidget.content.model.cells.get(0).trusted"
    assert lab.page.evaluate(trusted) is False
