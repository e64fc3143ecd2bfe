"""Rating in a real JupyterLab: clicks, keys, hostile texts, a restart, and what is saved."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from playwright.sync_api import expect

EVIL = "<script>window.planted=1</script><img src=x onerror='window.planted=2'>"
NAME = "pi<b>rate</b>"
# What a model writes is another test's matter: here it must be known what stands where.
SETUP = f"""
%load_ext nbpeft
import nbpeft
from nbpeft.rating.answering import Answerer
model, tokenizer = nbpeft.load_tiny()
def texts(answerer, turn, apart):
    return [("base", "I am Ilse. " * 9 + str(turn.number)), ({NAME!r}, {EVIL!r} + str(turn.number))]
Answerer._texts = texts
"""
PROMPTS = ["Who are you?", EVIL, "What is the capital of the river land?", "Hi"]
RATE = "\n".join(["%%peft_rate base", *PROMPTS])
SECONDS = 20_000


@pytest.fixture
def rating(lab):
    cells = [nbformat.v4.new_code_cell(cell) for cell in (SETUP, RATE, "len(ratings)")]
    lab.open(nbformat.v4.new_notebook(cells=cells))
    lab.run_all()
    assert lab.errors() == []
    return lab


def output(lab):
    return lab.panel.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output").last


def at(lab, place):
    expect(output(lab)).to_contain_text(f"prompt {place}", timeout=SECONDS)


def button_over(lab, text):
    """That of the answer which holds a text; which of the two it is, is drawn."""
    panel = output(lab).locator(".widget-vbox .widget-vbox").filter(has_text=text)
    return panel.get_by_role("button")


def kept(lab):
    lines = (lab.folder / "ratings" / "ratings.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def better(lab):
    return [row["adapter"] for row in kept(lab) if row["score"] == 1]


def outputs_saved(lab):
    lab.save()
    lab.page.wait_for_function(
        "!jupyterapp.shell.currentWidget.context.model.dirty", timeout=SECONDS
    )
    return nbformat.read(lab.folder / "notebook.ipynb", as_version=4).cells[1].outputs


def test_clicks_and_keys_rate_and_a_restart_loses_nothing(rating):
    page, keys = rating.page, output(rating).locator("input[type=text]")
    at(rating, "1 of 4")
    # Texts of the model and of the user are texts; who answers is told nowhere.
    expect(output(rating)).to_contain_text(EVIL + "0")
    assert "pirate" not in output(rating).inner_text()
    assert NAME not in output(rating).inner_text()
    rating.screenshot("rate")
    button_over(rating, "Ilse").click()
    at(rating, "2 of 4")
    assert better(rating) == ["base"]

    # After a click keys go into the box, not to Lab: '2' would turn the cell into a heading.
    expect(keys).to_be_focused(timeout=SECONDS)
    chosen = re.match(r"\d", button_over(rating, "planted=1").inner_text())[0]
    page.keyboard.press(chosen)
    at(rating, "3 of 4")
    assert better(rating) == ["base", NAME]
    page.keyboard.press("u")
    at(rating, "2 of 4")
    assert better(rating) == ["base"]
    page.keyboard.type("bs")
    at(rating, "4 of 4")
    assert [row["score"] for row in kept(rating)][2:] == [0, 0]
    expect(rating.outputs.filter(has_text="[nbpeft]")).to_contain_text(
        "2 rated, 1 of them all bad, 1 skipped"
    )
    assert rating.panel.locator(".jp-CodeCell").count() == 3

    # Saved in the midst of it, there is something to read beside the widget.
    line, _ = outputs_saved(rating)
    assert "2 rated, 1 of them all bad, 1 skipped; in ratings/" in line.data["text/plain"]

    # Another kernel: the same cell goes on with what was skipped and what wasn't seen.
    rating.close()
    rating.goto("notebook.ipynb")
    rating.screenshot("rate-reopened")
    rating.run_all()
    assert rating.errors() == []
    expect(rating.outputs.last).to_have_text("4")
    at(rating, "1 of 2")
    for place in ("2 of 2", None):
        button_over(rating, "Ilse").click()
        if place:
            at(rating, place)

    # The closing table stands in the widget's place, and in the file.
    table = output(rating).locator("table")
    expect(table.get_by_role("cell", name=NAME, exact=True)).to_be_visible(timeout=SECONDS)
    expect(rating.panel.locator(".jupyter-widgets")).to_have_count(0)
    expect(output(rating)).to_contain_text("ratings: 4 rated, 1 of them all bad")
    assert page.evaluate("window.planted") is None
    rating.screenshot("rate-done")
    line, saved = outputs_saved(rating)
    assert line.data["text/plain"] == "[nbpeft] ratings: the rating is done."
    assert set(saved.data) == {"text/html", "text/plain"}
    assert better(rating) == ["base"] * 3


def test_answers_are_marked_and_ranked(lab):
    many = SETUP.replace(
        "return [", "return [(f'a{i}', f'Answer {i}. ' * i) for i in range(1, 4)] + ["
    )
    cells = [
        many,
        "%%peft_rate base --answers 4\nWho are you?\nHi",
        "%%peft_rate base --mark --into m\nHi",
    ]
    lab.open(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]))
    lab.run_all()
    assert lab.errors() == []
    at(lab, "1 of 2")
    button_over(lab, "Answer 3").click()
    expect(button_over(lab, "Answer 3")).to_have_text(re.compile("best"), timeout=SECONDS)
    expect(button_over(lab, "Answer 3")).to_be_disabled()
    lab.screenshot("rate-ranks")
    button_over(lab, "Answer 2").click()
    expect(button_over(lab, "Answer 2")).to_have_text(re.compile("second"), timeout=SECONDS)
    button_over(lab, "Ilse").click()
    at(lab, "2 of 2")
    scores = {row["adapter"]: round(row["score"], 2) for row in kept(lab)}
    assert scores == {"a3": 1, "a2": 0.67, "base": 0.33, "a1": 0}

    marking = lab.panel.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea-output").last
    marking.get_by_role("button", name="4", exact=True).click()
    expect(marking).to_contain_text("m: 1 rated", timeout=SECONDS)
    rows = (lab.folder / "ratings" / "m.jsonl").read_text().splitlines()
    assert [json.loads(row)["score"] for row in rows] == [0.75]
