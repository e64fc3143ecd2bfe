"""The live display on Colab's versions: what its frontend is sent while the cell runs."""

from __future__ import annotations

import base64
import re

import pytest
from kernels import SHOWS, Kernel


@pytest.fixture
def kernel(working_folder):
    kernel = Kernel(working_folder)
    yield kernel
    kernel.stop()


def test_one_display_is_updated_and_ends_as_a_picture(kernel):
    kernel.run("%load_ext nbpeft\nimport nbpeft")
    kernel.run('model, tokenizer = nbpeft.load_tiny()\nchats = nbpeft.load_data("pirate")')
    sent = kernel.send("%finetune pirate --data chats --max-steps 20 --eval 8")
    messages = [(kind, content) for kind, content in kernel._messages(sent) if kind in SHOWS]
    assert kernel.reply(sent)["status"] == "ok"

    (_plan, opening, *live, picture, table) = messages
    assert opening[0] == "display_data"
    assert set(opening[1]["data"]) == {"text/plain"}
    assert {kind for kind, _ in [*live, picture]} == {"update_display_data"}
    own = {content["transient"]["display_id"] for _, content in [opening, *live, picture]}
    assert len(own) == 1

    pages = [content["data"]["text/html"] for _, content in live]
    steps = [int(re.search(r'<progress value="(\d+)" max="20"', page)[1]) for page in pages]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 20)
    assert "before training" in pages[-1]
    assert "<polyline" in pages[-1]

    data = picture[1]["data"]
    assert set(data) == {"image/png", "text/plain"}
    assert data["text/plain"] == opening[1]["data"]["text/plain"]
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert "answer after" in table[1]["data"]["text/html"]


def test_a_background_run_only_updates_what_its_cell_opened(kernel):
    """This ipykernel takes what a thread displays for the output of whichever cell runs."""
    kernel.run("%load_ext nbpeft\nimport nbpeft")
    kernel.run('model, tokenizer = nbpeft.load_tiny()\nchats = nbpeft.load_data("pirate")')
    cell = "%finetune pirate --data chats --max-steps 40 --eval 8 --background"
    opened = kernel.displays(cell)
    sent = kernel.send("nbpeft.jobs()[0].wait()\nprint(nbpeft.jobs()[0].state)")
    messages = [(k, c) for k, c in kernel._messages(sent) if k in (*SHOWS, "stream")]
    assert kernel.reply(sent)["status"] == "ok"
    assert "plan for pirate@1" in str(opened)
    assert [c["text"] for kind, c in messages if kind == "stream"] == ["done\n"]
    assert {kind for kind, _ in messages} == {"stream", "update_display_data"}
    assert any("image/png" in c["data"] for kind, c in messages if kind != "stream")
    assert "pirate@1 is trained and kept" in str(messages)
