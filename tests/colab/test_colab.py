"""The magics in a real kernel with Colab's versions (constraints-colab.txt)."""

from __future__ import annotations

import importlib.metadata
from fnmatch import fnmatch

import pytest
from completions import check
from kernels import Kernel

SETUP = """
import torch
from nbpeft.tiny import load_data, load_tiny

model, tokenizer = load_tiny()
chats = load_data("pirate")
ids = tokenizer("Who are you?", return_tensors="pt").input_ids

def logits():
    with torch.no_grad():
        return model(ids).logits.clone()

before, the_model = logits(), model
"""


@pytest.fixture
def kernel(working_folder):
    kernel = Kernel(working_folder)
    yield kernel
    kernel.stop()


def test_the_versions_are_colabs(root, kernel):
    for line in (root / "constraints-colab.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, _, wanted = line.partition("==")
            version = importlib.metadata.version(name).partition("+")[0]
            assert fnmatch(version, wanted), name
            kernel.run("import importlib.metadata")
            assert kernel.value(f"importlib.metadata.version({name!r})").startswith(version)


def test_the_magics_work_on_them(kernel, working_folder):
    kernel.run("%load_ext nbpeft")
    kernel.run(SETUP)

    # IPython refuses a cell magic without a body; flags alone make a line.
    kernel.run("%%finetune pirate --data chats --max-steps 3\nrank: 4")
    assert list((working_folder / "adapters" / "pirate").rglob("adapter_model.safetensors"))
    assert kernel.value("torch.equal(logits(), before)"), "the run left the base as it was"
    assert not kernel.value("model.training or any(p.grad is not None for p in model.parameters())")

    kernel.run("%peft_attach pirate")
    assert kernel.value("model is the_model")
    assert kernel.value("float((logits() - before).abs().max())") > 0

    tables, _ = kernel.run("%%peft_compare base pirate\nWho are you?\nWhat do you like?")
    assert any("pirate" in text for text in tables)
    names, _ = kernel.run("%peft_adapters")
    assert any("pirate" in text for text in names)

    kernel.run("%peft_attach --none")
    assert kernel.value("torch.equal(logits(), before)")


def test_a_look_at_the_data_works_on_them(kernel):
    kernel.run("%load_ext nbpeft")
    kernel.run(SETUP)
    kernel.run(
        "turns = [{'from': 'human', 'value': 'Hi'}, {'from': 'gpt', 'value': '<b>Yo</b>'}]\n"
        "sharegpt = [{'conversations': turns}] * 4"
    )
    displays = kernel.displays("%peft_data sharegpt")
    assert [kind for shown in displays for kind in shown if kind != "text/plain"] == [
        "text/html", "image/png", "text/html",
    ]  # fmt: skip
    assert "&lt;" in displays[-1]["text/html"]
    assert "<b>Yo" not in displays[-1]["text/html"]
    kernel.run("%%finetune taught --max-steps 2\ndata: sharegpt:0.5,chats:0.5")
    assert kernel.value("__import__('nbpeft').adapters()['taught'].metrics['steps']") == 2


def test_answers_are_rated_on_them(kernel, working_folder):
    """ipywidgets 7 has no `focus`, and Comm is ipykernel's."""
    kernel.run("%load_ext nbpeft")
    kernel.run(SETUP)
    line, widget = kernel.displays(
        "rating = __import__('nbpeft').rate('base', ['Hi', 'So?'], mark=True)\nrating"
    )
    assert "0 rated" in line["text/plain"]
    view = widget["application/vnd.jupyter.widget-view+json"]
    models = "__import__('ipywidgets').Widget.widgets"
    assert kernel.value(f"{models}[{view['model_id']!r}]._model_name") == "VBoxModel"
    press = "[w for w in {}.values() if getattr(w, 'description', '') == '4'][0].click()"
    kernel.run(press.format(models))
    assert kernel.value("[row['score'] for row in ratings]") == [0.75]
    kernel.run(press.format(models))
    assert kernel.value("rating.done")
    rows = (working_folder / "ratings" / "ratings.jsonl").read_text().splitlines()
    assert len(rows) == 2


def test_memory_is_let_go_by_a_click_on_them(kernel):
    kernel.run("%load_ext nbpeft")
    kernel.run("import torch, ipywidgets\nbig = torch.zeros(2**20)")
    table, buttons = kernel.displays("%peft_memory")
    assert "big" in table["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in buttons
    widgets = "ipywidgets.Widget.widgets.values()"
    labelled = f"[w for w in {widgets} if 'free big' in getattr(w, 'description', '')]"
    kernel.run(f"{labelled}[0].click()")
    assert kernel.value("'big' in globals()") is False


def test_the_form_runs_on_them(kernel, working_folder):
    kernel.run("%load_ext nbpeft")
    kernel.run(SETUP)
    kernel.run("import ipywidgets\nwidgets = ipywidgets.Widget.widgets")
    (form,) = kernel.displays("%finetune")
    view = form["application/vnd.jupyter.widget-view+json"]
    assert kernel.value(f"widgets[{view['model_id']!r}]._model_name") == "VBoxModel"
    of = "next(w for w in widgets.values() if getattr(w, 'description', '') == {!r})"
    for word, text in {"name": "pirate", "data": "chats", "max steps": "2", "rank": "4"}.items():
        kernel.run(f"{of.format(word)}.value = {text!r}")
    texts = "[w.value for w in widgets.values() if w._model_name == 'HTMLModel']"
    assert kernel.value(f"any('61,440 of 1,410,688' in text for text in {texts})")
    kernel.run(f"{of.format('Insert cell')}.click()")
    written = "[w.value for w in widgets.values() if w._model_name == 'TextareaModel']"
    cell = "%%finetune pirate --data chats\nmax_steps: 2\nrank: 4"
    assert kernel.value(written) == [cell], "Colab has no page that inserts it"
    kernel.run(f"{of.format('Run')}.click()")
    assert kernel.value("'pirate' in __import__('nbpeft').adapters()")
    kernel.run(cell)
    assert kernel.value("__import__('nbpeft').adapters()['pirate'].version") == 2


def test_completion_is_the_same_on_them(kernel):
    check(kernel)
