"""%peft_data in a real JupyterLab: colours in light and dark, and again untrusted and converted."""

from __future__ import annotations

import nbformat
from nbconvert import HTMLExporter
from playwright.sync_api import expect

EVIL = "<script>window.planted=1</script><img src=x onerror='window.planted=2'>"
CELLS = [
    "%load_ext nbpeft\n"
    "import nbpeft\n"
    "model, tokenizer = nbpeft.load_tiny()\n"
    "chats = nbpeft.load_data('pirate')\n"
    f"rows = [dict(prompt={EVIL!r}, completion={EVIL!r})] * 8",
    "%peft_data chats --max-length 40",
    "%peft_data rows --rows 3",
]
LOOKS = """it => {
    const style = getComputedStyle(it);
    return [style.backgroundColor, style.color, style.fontWeight, style.textDecorationLine];
}"""


def test_tokens_are_told_apart_live_untrusted_and_converted(lab):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    lab.open(notebook)
    lab.run_all()
    assert lab.errors() == []
    live = looks(lab)
    assert lab.page.evaluate("window.planted") is None
    expect(lab.outputs.last).to_contain_text("<img src=x")
    lab.screenshot("data")

    lab.save()
    lab.page.wait_for_timeout(500)
    saved = nbformat.read(lab.folder / "notebook.ipynb", as_version=4)
    assert [len(cell.outputs) for cell in saved.cells] == [0, 3, 3]
    # Another name and content than the signed one: JupyterLab doesn't trust it.
    saved.cells[0].source += "\n# from somebody else"
    nbformat.write(saved, lab.folder / "theirs.ipynb")
    lab.close()
    lab.goto("theirs.ipynb")
    assert looks(lab) == live
    assert lab.page.evaluate("window.planted") is None
    assert not lab.page.evaluate(
        "jupyterapp.shell.currentWidget.content.model.cells.get(1).trusted"
    )

    html, _ = HTMLExporter().from_notebook_node(saved)
    page = lab.page.context.new_page()
    page.set_content(html, wait_until="domcontentloaded")
    assert [page.locator("b").first.evaluate(LOOKS), page.locator("s").first.evaluate(LOOKS)] == [
        [*live[0][:1], page.locator("b").first.evaluate(LOOKS)[1], *live[0][2:]], live[1],
    ]  # fmt: skip
    assert page.evaluate("window.planted") is None


def looks(lab):
    """How a trained and a cut token look, and that the histogram is there."""
    picture = lab.outputs.locator("img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("it => it.complete && it.naturalWidth") > 300
    trained = lab.outputs.locator("b").first.evaluate(LOOKS)
    cut = lab.outputs.locator("s").first.evaluate(LOOKS)
    assert trained[0] == "rgba(61, 139, 217, 0.25)"
    assert int(trained[2]) >= 600
    assert (cut[1], cut[3]) == ("rgb(128, 128, 128)", "line-through")
    return trained, cut
