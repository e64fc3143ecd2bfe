"""A comparison in a real JupyterLab: sorted, marked, grown, voted on; a table when reopened."""

from __future__ import annotations

import nbformat
import pytest
from playwright.sync_api import expect

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


def view(lab, place):
    return lab.panel.locator(".nbpeft-comparison").nth(place)


def prompts(view):
    return view.locator("tbody th").all_inner_texts()


def test_it_is_sorted_marked_grown_and_voted_on(compared):
    lab, shown = compared, view(compared, 0)
    heads = shown.locator("thead th")
    assert heads.all_inner_texts() == ["prompt", "base", "pirate", "plain"]
    asked = prompts(shown)
    assert asked[-1] == EVIL
    shown.get_by_role("button", name="prompt", exact=True).click()
    expect(heads.first).to_have_attribute("aria-sort", "ascending")
    assert prompts(shown) == sorted(asked, key=str.lower)
    lab.page.keyboard.press("Enter")  # the head keeps the focus
    expect(heads.first).to_have_attribute("aria-sort", "descending")
    assert prompts(shown) == sorted(asked, key=str.lower, reverse=True)
    shown.get_by_role("button", name="held-out loss").click()
    assert heads.all_inner_texts()[1] == "pirate"

    # What differs from the base, on a click.
    expect(shown.locator("ins")).to_have_count(0)
    pirate = shown.locator("tbody tr", has_text="Who are you?").locator("td").first
    words = pirate.locator(".nbpeft-words")
    said = words.inner_text()
    words.click()
    expect(pirate.locator("ins.nbpeft-strong").first).to_be_visible()
    assert pirate.locator(".nbpeft-words").inner_text() == said
    weight = "it => getComputedStyle(it).fontWeight"
    assert pirate.locator("ins.nbpeft-strong").first.evaluate(weight) == "700"
    shown.get_by_role("button", name="Differences").click()
    expect(shown.locator("ins")).to_have_count(0)
    shown.get_by_role("button", name="Differences").click()
    expect(shown.locator("ins", has_text="same as base").first).to_be_visible()

    # More of it, asked of the kernel.
    box = shown.get_by_label("another prompt")
    box.fill("What do you eat? <b>bold</b>")
    box.press("Enter")
    expect(shown.locator("tbody tr")).to_have_count(4, timeout=60_000)
    expect(box).to_have_value("")
    assert "What do you eat? <b>bold</b>" in prompts(shown)
    expect(heads.first).to_have_attribute("aria-sort", "descending")  # as it was looked at
    second = view(lab, 1)
    assert "expected" in second.locator("thead th").all_inner_texts()
    shown.get_by_label("pirate answers best").first.click()
    expect(shown.get_by_label("pirate answers best").first).to_have_text("★", timeout=30_000)
    expect(shown.locator(".nbpeft-status")).to_contain_text("--data ratings --objective dpo")
    assert (lab.folder / "ratings" / "ratings.jsonl").exists()
    lab.screenshot("compare")
    assert lab.page.evaluate("window.planted") is None
    assert shown.locator("b, img, script").count() == 0

    lab.save()
    saved = nbformat.read(lab.folder / "notebook.ipynb", as_version=4)
    # Saving has signed it: as somebody else's notebook it has another content.
    saved.cells.append(nbformat.v4.new_markdown_cell("from somebody else"))
    lab.reopen(saved)
    trusted = "jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.trusted)"
    assert True not in lab.page.evaluate(trusted)[: len(CELLS)]
    still = lab.outputs.filter(has_text="comparison").locator("table")
    expect(still).to_have_count(2)
    expect(lab.panel).not_to_contain_text("displaying widget")
    assert still.first.locator("ins").first.evaluate(weight) == "700"
    same = still.first.locator("i", has_text="same as base").first
    assert same.evaluate("it => getComputedStyle(it).color") == "rgb(128, 128, 128)"
    assert "What do you eat? <b>bold</b>" in still.first.inner_text()
    assert EVIL in still.first.inner_text()
    assert EVIL in still.last.inner_text()
    assert lab.page.evaluate("window.planted") is None
    lab.screenshot("compare-untrusted")


def test_an_adapter_is_added_from_the_view(lab):
    more = "%%peft_compare base pirate\nWho are you?"
    cells = [nbformat.v4.new_code_cell(cell) for cell in [*CELLS[:3], more]]
    lab.open(nbformat.v4.new_notebook(cells=cells))
    lab.run_all()
    shown = view(lab, 0)
    shown.get_by_label("another adapter").select_option("plain")
    expect(shown.locator("thead th")).to_have_text(["prompt", "base", "pirate", "plain"])
    expect(shown.get_by_label("another adapter")).to_be_hidden()
