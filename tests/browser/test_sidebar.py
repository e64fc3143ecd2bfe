"""The sidebar of a real JupyterLab: adapters, a run as it goes, Stop, attach and compare."""

from __future__ import annotations

import re

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
