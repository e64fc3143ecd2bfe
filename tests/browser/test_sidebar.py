"""The sidebar of a real JupyterLab: adapters, a run as it goes, Stop, attach and compare."""

from __future__ import annotations

import re
import zipfile

import pytest
from playwright.sync_api import expect
from test_live import SETUP, start
from test_widget import LONG, cells


@pytest.fixture
def sidebar(lab):
    return lab.page.locator(".nbpeft-sidebar")


def opened(lab):
    lab.page.get_by_role("tab", name="nbpeft: adapters and runs").click()


def test_attach_and_compare_and_what_a_new_page_and_a_new_kernel_see(lab, sidebar):
    run = "%finetune pirate --data chats --max-steps 12 --learning-rate 3e-3 --eval 8"
    plain = "%finetune plain --data chats --max-steps 1 --eval 8"
    lab.open(cells(SETUP, run, plain))
    opened(lab)
    expect(sidebar).to_contain_text("run %load_ext nbpeft")
    lab.run_all()
    assert lab.errors() == []
    adapters = sidebar.locator(".nbpeft-adapter")
    expect(adapters).to_have_count(2)
    expect(adapters.first).to_contain_text("plain")
    expect(adapters.last).to_contain_text(re.compile(r"sft · lora · held-out loss 0\.\d"))
    sidebar.get_by_role("button", name="Attach pirate").click()
    expect(sidebar.locator(".nbpeft-attached")).to_contain_text("pirate")
    expect(sidebar.get_by_role("status")).to_have_text("pirate is attached")
    expect(lab.page.locator("#jp-main-statusbar")).to_contain_text("nbpeft: pirate@1 · ")
    sidebar.get_by_role("button", name="Compare pirate with the base").click()
    expect(lab.panel.locator(".nbpeft-comparison")).to_be_visible(timeout=60_000)
    heads = lab.panel.locator(".nbpeft-comparison thead th")
    expect(heads).to_have_text(["prompt", "base", "pirate"])
    lab.screenshot("sidebar")
    lab.window("panel", lab.panel.locator(".nbpeft-comparison"))
    lab.picture("comparison", first=3, last=3)
    lab.save()

    lab.page.reload()
    opened(lab)
    expect(sidebar.locator(".nbpeft-attached")).to_contain_text("pirate", timeout=60_000)
    sidebar.get_by_role("button", name="Detach pirate: the base again").click()
    expect(sidebar.locator(".nbpeft-attached")).to_have_count(0)

    lab.page.evaluate("void jupyterapp.commands.execute('notebook:restart-kernel', {})")
    lab.page.locator(".jp-Dialog button", has_text="Restart").click()
    expect(sidebar).to_contain_text("run %load_ext nbpeft", timeout=30_000)
    lab.page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
    lab._command("notebook:run-cell", {})
    expect(adapters).to_have_count(2, timeout=60_000)  # the shelf has them
    sidebar.get_by_role("button", name="Attach pirate").click()
    expect(sidebar.locator(".nbpeft-attached")).to_contain_text("pirate", timeout=30_000)


def test_a_run_is_followed_and_stopped(lab, sidebar):
    lab.open(cells(SETUP, LONG))
    opened(lab)
    start(lab)
    run = sidebar.locator(".nbpeft-run")
    expect(run).to_contain_text(re.compile(r"pirate: step \d\d"), timeout=120_000)
    bar = run.locator("progress")
    first = int(bar.get_attribute("value"))
    lab.page.wait_for_timeout(600)
    assert int(bar.get_attribute("value")) > first
    assert len(run.locator("polyline").get_attribute("points").split()) > 2
    sidebar.get_by_role("button", name="Stop after this step").click()
    expect(run).to_have_count(0, timeout=10_000)
    expect(sidebar.locator(".nbpeft-adapter")).to_contain_text("partial", timeout=10_000)


def test_what_cannot_be_done_is_said(lab, sidebar):
    lab.open(cells(SETUP, "%peft_attach fresh --method lora", "del model; import gc; gc.collect()"))
    opened(lab)
    lab.run_all()
    lab.page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
    expect(sidebar.locator(".nbpeft-adapter")).to_have_count(1)
    sidebar.get_by_role("button", name=re.compile("(At|De)tach fresh")).click()
    expect(sidebar.get_by_role("status")).to_contain_text(re.compile("Error: .*model"))


HOSTILE = "<img src=x onerror=planted=1>"


def test_rename_export_and_delete(lab, sidebar):
    own = (
        "import nbpeft.session, warnings; warnings.simplefilter('ignore')  # PEFT's\n"
        "from peft import LoraConfig, get_peft_model\n"
        "other = model.__class__(model.config)\n"
        f"mine = get_peft_model(other, LoraConfig(r=2), {HOSTILE!r})\n"
        "nbpeft.session.current().handle(mine); kept = [mine]; del mine, other"
    )
    run = "%finetune pirate --data chats --max-steps 2 --eval 0 --attach"
    lab.open(cells(SETUP, run, run, own))
    opened(lab)
    lab.run_all()
    assert lab.errors() == []
    shelf, page, status = lab.folder / "adapters", lab.page, sidebar.get_by_role("status")
    rows = sidebar.locator(".nbpeft-adapter")
    expect(rows).to_have_count(2)
    hostile = rows.filter(has_text="onerror")
    expect(hostile.locator("strong")).to_have_text(HOSTILE)
    assert hostile.locator("img, button").count() == 0
    assert page.evaluate("window.planted") is None

    # Renamed by keyboard alone; Escape leaves the name.
    sidebar.get_by_role("button", name="Rename pirate").press("Enter")
    field = sidebar.get_by_role("textbox", name="New name of pirate")
    expect(field).to_be_focused()
    field.fill("corsair")
    field.press("Escape")
    expect(field).to_have_count(0)
    expect(sidebar.get_by_role("button", name="Rename pirate")).to_be_focused()
    page.keyboard.press("Enter")
    for bad, says in (("a --delete", "letters, digits"), ("<b>x</b>", "letters"), ("none", "kept")):
        field.fill(bad)
        field.press("Enter")
        expect(status).to_contain_text(says)
        expect(field).to_have_value(bad)
    assert {path.name for path in shelf.iterdir()} == {"pirate"}
    field.fill("corsair")
    field.press("Enter")
    expect(status).to_have_text("pirate is corsair now")
    expect(sidebar.locator(".nbpeft-attached", has_text="corsair")).to_have_count(1)
    expect(sidebar.get_by_role("button", name="Rename corsair")).to_be_focused()
    expect(page.locator("#jp-main-statusbar")).to_contain_text("nbpeft: corsair@2")
    assert {path.name for path in shelf.iterdir()} == {"corsair"}

    # Exported: a file beside the notebook, and a link that gives that very file.
    (lab.folder / "corsair.zip").write_text("mine")
    sidebar.get_by_role("button", name="Export corsair as a zip").click()
    expect(status).to_contain_text("exported: corsair@2 to ")
    link = sidebar.get_by_role("link", name="Download corsair-2.zip")
    with page.expect_download() as download:
        link.click()
    assert (lab.folder / "corsair.zip").read_text() == "mine"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert "corsair/adapter_model.safetensors" in archive.namelist()
    assert download.value.path().read_bytes() == (lab.folder / "corsair-2.zip").read_bytes()

    # Deleted by a second click, and not while it is attached.
    delete = sidebar.get_by_role("button", name="Delete corsair", exact=True)
    question = "Delete corsair, all 2 versions?"
    sure = sidebar.get_by_role("button", name=question)
    delete.click()
    expect(sidebar.get_by_role("group", name=question)).to_be_visible()
    expect(sidebar.get_by_role("button", name="Keep corsair")).to_be_focused()
    lab.screenshot("sidebar-delete")
    page.keyboard.press("Enter")
    expect(sure).to_have_count(0)
    expect(delete).to_be_focused()
    delete.click()
    sure.click()
    expect(status).to_contain_text("corsair@2 is attached; detach it first")
    assert (shelf / "corsair" / "2").is_dir()
    sidebar.get_by_role("button", name="Detach corsair").click()
    expect(sidebar.locator(".nbpeft-attached", has_text="corsair")).to_have_count(0)
    delete.click()
    page.keyboard.press("Escape")
    expect(delete).to_be_focused()
    delete.click()
    sure.click()
    expect(status).to_have_text("corsair is deleted")
    expect(rows).to_have_count(1)
    assert list(shelf.iterdir()) == []
    assert page.evaluate("window.planted") is None


def test_what_is_typed_stays_while_a_run_adds_an_adapter(lab, sidebar):
    run = "%finetune {} --data chats --max-steps 1 --eval 0"
    lab.open(cells(SETUP, run.format("pirate"), "import time; time.sleep(2)", run.format("poet")))
    opened(lab)
    start(lab)
    sidebar.get_by_role("button", name="Rename pirate").click(timeout=120_000)
    field = sidebar.get_by_role("textbox", name="New name of pirate")
    field.fill("cors")
    field.press("ArrowLeft")
    expect(sidebar.locator(".nbpeft-adapter")).to_have_count(2, timeout=60_000)
    lab.page.keyboard.type("xyz")
    expect(field).to_have_value("corxyzs")


def test_a_page_that_is_loaded_anew_shows_the_run_while_it_goes_on(lab, sidebar):
    lab.open(cells(SETUP, LONG.replace("4000", "40000"), "went_on = True"))
    opened(lab)
    start(lab)
    run = sidebar.locator(".nbpeft-run")
    expect(run).to_contain_text(re.compile(r"pirate: step \d\d"), timeout=120_000)
    lab.save()
    lab.page.reload()
    opened(lab)
    expect(run).to_contain_text(re.compile(r"pirate: step \d\d"), timeout=30_000)
    bar = run.locator("progress")
    first = int(bar.get_attribute("value"))
    lab.page.wait_for_timeout(600)
    assert int(bar.get_attribute("value")) > first, "it goes on, and is told"
    sidebar.get_by_role("button", name="Stop after this step").click()
    expect(run).to_have_count(0, timeout=10_000)
    expect(sidebar.locator(".nbpeft-adapter")).to_contain_text("partial", timeout=10_000)
