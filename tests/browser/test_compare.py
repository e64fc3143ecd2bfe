"""A comparison in a real JupyterLab: marked words, expected answers, and the same when reopened."""

from __future__ import annotations

import nbformat
import pytest

EVIL = "</td></table><script>window.planted=1</script><img src=x onerror='window.planted=2'>"
CELLS = [
    "%load_ext nbpeft\n"
    "import nbpeft\n"
    "model, tokenizer = nbpeft.load_tiny()\n"
    f"rows = [dict(question='Who are you?', answer={EVIL!r}),\n"
    "        dict(question='What is the capital of the river land?', answer='\\u202eVelmora')]",
    "%%finetune pirate --data tiny:pirate\nmax_steps: 12\nlearning_rate: 3e-3\neval: 16",
    "%%finetune plain --data tiny:pirate\nmax_steps: 1\nlearning_rate: 1e-6\neval: 16",
    "%%peft_compare base pirate plain\n"
    f"Who are you?\nWhat is the capital of the river land?\n{EVIL}",
    "%peft_compare --data rows --columns prompt=question,completion=answer --max-new-tokens 24",
]


@pytest.fixture
def compared(lab):
    lab.open(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS]))
    lab.run_all()
    assert lab.errors() == []
    return lab


def table(lab, place):
    return lab.outputs.filter(has_text="comparison").locator("table").nth(place)


def looks(lab):
    """What the marks look like to the browser."""
    mark = table(lab, 0).locator("ins").first
    same = table(lab, 0).locator("i", has_text="same as base").first
    return mark.evaluate("it => [getComputedStyle(it).fontWeight, it.textContent]"), same.evaluate(
        "it => getComputedStyle(it).color"
    )


def test_differences_are_marked_and_still_are_when_reopened_untrusted(compared):
    seen = looks(compared)
    assert seen[0][0] == "700"
    assert seen[1] == "rgb(128, 128, 128)"
    assert table(compared, 0).locator("th").all_inner_texts()[:2] == ["prompt", "base no adapter"]
    assert "expected" in table(compared, 1).locator("th").all_inner_texts()
    compared.screenshot("compare")
    compared.save()

    saved = nbformat.read(compared.folder / "notebook.ipynb", as_version=4)
    # Saving has signed it: as somebody else's notebook it has another content.
    saved.cells.append(nbformat.v4.new_markdown_cell("from somebody else"))
    compared.reopen(saved)
    trusted = "jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.trusted)"
    assert True not in compared.page.evaluate(trusted)[: len(CELLS)]
    assert looks(compared) == seen
    assert EVIL in table(compared, 0).inner_text()
    assert EVIL in table(compared, 1).inner_text()
    assert compared.page.evaluate("window.planted") is None
    compared.screenshot("compare-untrusted")
