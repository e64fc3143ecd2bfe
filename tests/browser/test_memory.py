"""%peft_memory in a real JupyterLab: a click frees, the table follows, a saved one has no error."""

from __future__ import annotations

import nbformat
from playwright.sync_api import expect
from test_live import reopened

HOLDS = "%load_ext nbpeft\nimport torch\nbig = torch.zeros(2**20)\nbigger = torch.zeros(2**22)"


def test_a_click_frees_and_the_table_follows(lab):
    codes = (HOLDS, "bigger", "%peft_memory", "print('big' in globals(), len(Out))")
    lab.open(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes]))
    lab.run_all()
    assert lab.errors() == []
    cell = lab.panel.locator(".jp-CodeCell").nth(2)
    table = cell.locator("table")
    expect(table).to_contain_text("bigger")
    cell.get_by_role("button", name="free big · 4.2 MB").click()
    expect(cell.get_by_role("button", name="free big · ")).to_have_count(0)
    expect(cell).to_contain_text("let go of big: ")
    expect(table.locator("td", has_text="big").first).to_have_text("bigger")
    lab.screenshot("memory")
    lab.page.evaluate("""() => {
        const notebook = jupyterapp.shell.currentWidget.content;
        notebook.activeCellIndex = 3;
        return jupyterapp.commands.execute('notebook:run-cell');
    }""")
    expect(lab.outputs.last).to_contain_text("False")
    lab.save()
    saved = nbformat.read(lab.folder / "notebook.ipynb", as_version=4)
    lab.page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
    reopened(lab, saved, "untrusted.ipynb")
    expect(lab.panel.locator("table")).to_contain_text("bigger")
    expect(lab.panel).to_contain_text("The buttons lived as long as the kernel")
    expect(lab.panel).not_to_contain_text("displaying widget")
