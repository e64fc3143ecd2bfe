"""The status bar of a real JupyterLab: the active adapter and memory, after reload and restart."""

from __future__ import annotations

import re

import nbformat
from playwright.sync_api import expect

CODES = (
    "%load_ext nbpeft",
    "import nbpeft\nmodel, tokenizer = nbpeft.load_tiny()",
    "%peft_attach fresh --method lora",
)


def test_it_says_what_the_model_answers_as(lab):
    lab.open(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CODES]))
    item = lab.page.locator("#jp-main-statusbar span", has_text="nbpeft:").first
    expect(item).to_have_count(0)
    lab.run_all()
    assert lab.errors() == []
    expect(item).to_have_text(re.compile(r"^nbpeft: fresh@1 · [\d.]+ [MG]B$"))
    lab.save()
    lab.page.reload()
    expect(item).to_have_text(re.compile("^nbpeft: fresh@1 · "), timeout=60_000)
    # A new kernel knows of nothing until the cells have run there.
    lab.page.evaluate("void jupyterapp.commands.execute('notebook:restart-kernel', {})")
    lab.page.locator(".jp-Dialog button", has_text="Restart").click()
    expect(item).to_have_count(0, timeout=30_000)
    lab.page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
    lab._command("notebook:run-cell", {})
    expect(item).to_have_text(re.compile("^nbpeft: base · "), timeout=30_000)
