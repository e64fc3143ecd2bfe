"""The live part as a widget in a real JupyterLab: watched, asked for its values, stopped, saved."""

from __future__ import annotations

import re
import time

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect
from test_live import EVIL, HELD, SETUP, reopened, start

LONG = "%finetune pirate --data chats --max-steps 4000 --learning-rate 1e-3 --eval 8"


def cells(*codes):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes])


@pytest.fixture
def live(lab):
    return lab.panel.locator(".nbpeft-live")


def points(live):
    """How many points the loss curve has."""
    curve = live.locator(".nbpeft-chart").first.locator("polyline.nbpeft-blue")
    return len(curve.get_attribute("points").split()) if curve.count() else 0


def test_it_grows_says_its_values_and_stays_as_a_picture(lab, live):
    run = "%finetune pirate --data chats --max-steps 40 --learning-rate 3e-3 --eval 8"
    lab.open(cells(SETUP + HELD, run))
    start(lab)
    expect(live).to_contain_text("pirate: step 8 of 40", timeout=120_000)
    assert points(live) == 8
    (lab.folder / "on-from-8").touch()
    expect(live).to_contain_text("pirate: step 20 of 40", timeout=60_000)
    assert points(live) == 20
    for text in ("tokens/s", "learning rate", "memory", "held-out loss", "left"):
        expect(live.locator(".nbpeft-figures")).to_contain_text(text)
    samples = live.locator(".nbpeft-samples tr")
    assert samples.count() >= 2
    expect(samples.first).to_contain_text("before training")

    chart = live.locator(".nbpeft-chart").first
    chart.hover(position={"x": 5, "y": 80})
    expect(chart.locator(".nbpeft-says")).to_contain_text(re.compile(r"^step 1trained rows \d"))
    # And by keyboard, as a screen reader hears it.
    chart.focus()
    lab.page.keyboard.press("End")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^step 20: trained rows \d\.\d"))
    lab.page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuenow", "19")
    expect(chart).to_have_attribute("aria-valuetext", re.compile("^step 19: .*held-out rows "))
    lab.page.keyboard.press("Escape")
    expect(chart).to_have_attribute("aria-valuenow", "20")
    lab.screenshot("widget")
    lab.picture("live", first=1, last=1)
    lab.save()
    in_the_middle = nbformat.read(lab.folder / "notebook.ipynb", as_version=4)

    (lab.folder / "on-from-20").touch()
    expect(live).to_have_count(0, timeout=120_000)
    outputs = lab.panel.locator(".jp-OutputArea-child")
    expect(outputs).to_have_count(3)
    expect(outputs.nth(1).locator("img")).to_be_visible()
    assert lab.errors() == []
    lab.save()
    saved = nbformat.read(lab.folder / "notebook.ipynb", as_version=4)
    assert "widget-view" not in nbformat.writes(saved)
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(saved)
    assert "data:image/png;base64," in page
    assert "displaying widget" not in page

    # A page that is loaded anew finds the run where it is by then.
    nbformat.write(in_the_middle, lab.folder / "notebook.ipynb")
    lab.page.reload()
    expect(live).to_contain_text("pirate: step 40 of 40", timeout=60_000)
    expect(live.get_by_role("button", name="Stop")).to_be_hidden()
    expect(lab.panel).not_to_contain_text("displaying widget")

    # A kernel that died in the middle of its run leaves this: as far as it was shown, in HTML.
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(in_the_middle)
    assert "<progress" in page
    reopened(lab, in_the_middle, "cut-off.ipynb")
    expect(lab.outputs.locator("progress")).to_be_visible()
    expect(lab.panel).not_to_contain_text("displaying widget")


def test_a_click_on_stop_ends_the_run_within_three_seconds(lab, live):
    lab.open(cells(SETUP, LONG, "went_on = True", "print(nbpeft.adapters()['pirate'].partial)"))
    start(lab)
    expect(live).to_contain_text(re.compile(r"pirate: step \d\d"), timeout=120_000)
    began = points(live)
    lab.page.wait_for_timeout(500)
    assert points(live) > began
    live.get_by_role("button", name="Stop").click()
    clicked = time.monotonic()
    expect(live).to_have_count(0, timeout=10_000)
    assert time.monotonic() - clicked < 3
    expect(lab.outputs.last).to_contain_text("kept")
    lab.page.evaluate("""() => {
        const notebook = jupyterapp.shell.currentWidget.content;
        notebook.activeCellIndex = 3;
        return jupyterapp.commands.execute('notebook:run-cell');
    }""")
    expect(lab.outputs.last).to_have_text("True")  # and Run All stopped before it
    expect(lab.panel.locator(".jp-InputPrompt").nth(2)).to_have_text("[ ]:")


def test_hostile_words_stay_text(lab, live):
    told = f"""
from nbpeft.events import Figure, Progressed, Sampled, Started
from nbpeft.views import choose
view = choose()
view(Started({EVIL!r}, 9))
view(Sampled(0, {EVIL!r}, {EVIL!r}))
import time; time.sleep(0.3)
view(Progressed(4, 9, 2.0, 1e-3, 1.0, 10, figures=(Figure({EVIL!r}, 1.0),)))
"""
    lab.open(cells(SETUP, told))
    lab.run_all()
    expect(live.locator("progress")).to_have_attribute("value", "4")
    expect(live.locator("td")).to_have_text(EVIL)
    expect(live.locator("strong")).to_contain_text("<script>window.planted=1</script>")
    assert live.locator("script, img").count() == 0
    assert lab.page.evaluate("window.planted") is None
    lab.screenshot("widget-hostile")


def test_at_a_thousand_steps_a_second_the_page_is_changed_ten_times(lab, live):
    told = """
import time
from nbpeft.events import Progressed, Started
from nbpeft.views import choose
view = choose()
view(Started("fast", 4_000))
began = time.monotonic()
for step in range(1, 4_001):
    view(Progressed(step, 4_000, 2.0 / step, 1e-3, step / 1000, step, 900.0, 5, 5))
    time.sleep(max(0, began + step / 1000 - time.monotonic()))
print("seconds", time.monotonic() - began)
"""
    lab.open(cells(SETUP, told))
    lab.page.evaluate("""() => {
        window.changes = [];
        const look = () => {
            const title = document.querySelector('.nbpeft-live strong')?.textContent;
            if (title && title !== window.changes.at(-1)) window.changes.push(title);
        };
        const watched = document.querySelector('.jp-NotebookPanel');
        const what = {subtree: true, childList: true, characterData: true};
        new MutationObserver(look).observe(watched, what);
    }""")
    lab.run_all()
    expect(live).to_contain_text("fast: step 4,000 of 4,000 (100%)")
    seconds = float(lab.outputs.last.inner_text().split()[1])
    changes = lab.page.evaluate("window.changes")
    assert 4 <= len(changes) <= 10 * seconds + 1
    assert len(set(changes)) == len(changes)
    assert points(live) <= 300
    live.locator(".nbpeft-chart").first.hover(position={"x": 5, "y": 80})
    says = live.locator(".nbpeft-says").first
    expect(says).to_contain_text(re.compile(r"^step \d\d?trained rows"))
