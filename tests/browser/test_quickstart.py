"""The quickstart in a real JupyterLab: what a newcomer sees after Run All."""

from __future__ import annotations

import nbformat
from playwright.sync_api import expect

EVIL = "<script>window.planted=1</script><img src=x onerror='window.planted=2'>"


def test_run_all_shows_the_curve_and_the_comparison(lab, root):
    notebook = nbformat.read(root / "notebooks" / "01-one-cell.ipynb", as_version=4)
    lab.open(notebook, "01-one-cell.ipynb")
    lab.run_all()

    assert lab.errors() == []
    curve = lab.outputs.locator("img").first
    expect(curve).to_be_visible()
    assert curve.evaluate("it => it.complete && it.naturalWidth") > 300
    heads = comparison(lab).locator("th").all_inner_texts()
    assert any("base" in head for head in heads)
    assert any(adapter.name in " ".join(heads) for adapter in (lab.folder / "adapters").iterdir())
    lab.screenshot("quickstart")
    lab.picture("one-cell", first=1, last=5)


def test_markup_in_rows_prompts_and_answers_stays_text(lab):
    cells = [
        "%load_ext nbpeft\n"
        "from nbpeft.tiny import load_tiny\n"
        "model, tokenizer = load_tiny()\n"
        f"rows = [dict(prompt={EVIL!r}, completion={EVIL!r})] * 8\n"
        f"evil = {EVIL!r}\n"
        "classes = [dict(text=evil + str(n), label=[evil, 'b'][n % 2]) for n in range(20)]",
        "%%finetune planted\ndata: rows\nmax_steps: 2",
        f"%%peft_compare base planted\n{EVIL}",
        "%%finetune told --objective classify\ndata: classes\nmax_steps: 2\neval: 8",
        "%finetune told --objective classify --data classes --form",
    ]
    lab.open(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]))
    lab.run_all()

    assert lab.errors() == []
    expect(comparison(lab)).to_contain_text(EVIL)
    form = lab.panel.locator(".jp-Cell").nth(4)
    expect(form.get_by_text(EVIL[:20]).first).to_be_visible(timeout=20_000)  # a row, token by token
    assert lab.page.evaluate("window.planted") is None
    lab.screenshot("markup")


def comparison(lab):
    return lab.outputs.locator(".nbpeft-comparison table")
