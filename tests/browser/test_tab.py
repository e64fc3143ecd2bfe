"""Tab in JupyterLab: what is offered, with its help beside it."""

from __future__ import annotations

import contextlib

import nbformat
from playwright.sync_api import expect

EVIL = "<img src=x onerror=window.planted=1>"
SETUP = (
    "%load_ext nbpeft\n"
    "from nbpeft.tiny import load_tiny\n"
    "model, tokenizer = load_tiny()\n"
    f"chats = [{{{EVIL!r}: 'a', 'answer': 'b'}}] * 20"
)


def test_tab_shows_what_there_is_with_its_help(lab):
    cells = [nbformat.v4.new_code_cell(SETUP), nbformat.v4.new_code_cell("#")]
    lab.open(nbformat.v4.new_notebook(cells=cells))
    lab.run_all()
    assert lab.errors() == []

    offered(lab, "%%finetune p --learn", "--learning-rate", "flag: peak learning rate")
    lab.page.keyboard.press("Enter")
    expect(editor(lab)).to_have_text("%%finetune p --learning-rate")

    offered(lab, "%%finetune p --m", "--method", "flag: what is trained", "flags")
    offered(lab, "%%finetune p --data c\nwarm", "warmup_steps: ", "trainer field: ")
    offered(lab, "%%finetune p --data chats\nl", "learning_rate: ", "key: peak learn", "keys")
    offered(lab, "%%finetune p\ntarget_modules: ", "q_proj", "module: 6 in this", "modules")
    offered(lab, "%%finetune p --data chats --columns prompt=", "answer", "column: of chats")
    expect(lab.page.locator(".jp-Completer")).to_contain_text(EVIL)
    assert lab.page.evaluate("window.planted") is None

    offered(lab, "%%finetune p --from ", "", "nothing to offer", "nothing")
    expect(lab.page.locator(".jp-Completer-item")).to_have_count(1)  # none of Python's names


def editor(lab):
    return lab.panel.locator(".jp-CodeCell .cm-content").last


def offered(lab, cell, text, kind, shot=None):
    """Type a cell, press Tab: `text` is offered, and its kind and help stand beside it."""
    lab.page.keyboard.press("Escape")
    editor(lab).click()
    lab.page.keyboard.press("Control+A")
    lab.page.keyboard.insert_text(cell)
    item = lab.page.locator(f".jp-Completer-item[data-value='{text}']")
    lab.page.keyboard.press("Tab")
    with contextlib.suppress(AssertionError):
        expect(item).to_be_visible()
    if (
        not item.is_visible()
    ):  # JupyterLab waits a second; what imports a library first takes longer
        lab.page.keyboard.press("Tab")
    expect(item).to_be_visible()
    beside = item.locator(".jp-Completer-typeExtended")
    assert beside.inner_text().replace("\N{NO-BREAK SPACE}", " ").startswith(kind)
    assert beside.bounding_box()["height"] == item.bounding_box()["height"]
    assert beside.evaluate("it => it.scrollHeight == it.clientHeight"), "it fits into its line"
    if shot:
        lab.page.screenshot(path=lab._shots / f"completion-{shot}.png")
