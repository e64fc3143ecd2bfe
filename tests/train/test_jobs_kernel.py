"""A background run in a real kernel: its own cell shows it to its end, the others stay clean."""

from __future__ import annotations

import base64
import queue
import time

import pytest
from kernels import SHOWS, Kernel

LOAD = """
%load_ext nbpeft
import nbpeft
model, tokenizer = nbpeft.load_tiny()
chats = nbpeft.load_data("pirate")
"""


@pytest.fixture
def kernel(working_folder):
    kernel = Kernel(working_folder)
    kernel.run(LOAD)
    yield kernel
    kernel.stop()


def everything(kernel, last):
    """(parent, kind, content) of all that the kernel sends until the cell `last` is idle."""
    end, found = time.monotonic() + 120, []
    while True:
        try:
            message = kernel.client.get_iopub_msg(timeout=max(0, end - time.monotonic()))
        except queue.Empty:
            pytest.fail("the kernel has gone silent")
        parent, kind = message["parent_header"].get("msg_id"), message["msg_type"]
        found.append((parent, kind, message["content"]))
        if (parent, kind) == (last, "status") and found[-1][2]["execution_state"] == "idle":
            return found


def test_its_cell_returns_shows_the_run_to_its_end_and_no_other_cell_does(kernel):
    sent = kernel.send("%finetune pirate --data chats --max-steps 4000 --eval 8 --background")
    assert kernel.reply(sent)["status"] == "ok"
    later, replies = [], []
    for cell in (
        "state = nbpeft.jobs()[0].state\nprint('mine')",
        "import time\nwhile 'step 2' not in nbpeft.jobs()[0].where: time.sleep(0.05)",
        "time.sleep(1)",
        "model(None)",
        "%peft_jobs --stop all",
        "%peft_jobs --wait",
    ):
        later.append(kernel.send(cell))
        replies.append(kernel.reply(later[-1]))
    assert [reply["status"] for reply in replies] == ["ok", "ok", "ok", "error", "ok", "error"]
    assert "is being tuned in the background by pirate (step " in replies[3]["evalue"]
    assert replies[5]["ename"] == "Stopped"
    messages = everything(kernel, last=kernel.send("'end'"))

    own = [m for m in messages if m[1] in (*SHOWS, "stream")]
    opened = [c["transient"]["display_id"] for p, k, c in own if (p, k) == (sent, "display_data")]
    updates = [(p, c) for p, k, c in own if k == "update_display_data"]
    assert len(opened) == 4
    assert {c["transient"]["display_id"] for _, c in updates} <= set(opened)
    others = [(later.index(p), k) for p, k, _ in own if p in later and k != "update_display_data"]
    assert others == [(0, "stream"), (4, "execute_result")]
    steps = [c["data"]["text/plain"] for _, c in updates if "step" in str(c["data"])]
    assert sum("· step" in step for step in steps) > 1

    last = {c["transient"]["display_id"]: c["data"] for _, c in updates}
    above, live, below, _ = [last.get(name) for name in opened]
    assert above["text/plain"].startswith("[nbpeft] plan for pirate@1")
    assert base64.b64decode(live["image/png"]).startswith(b"\x89PNG")
    assert "pirate@1 stopped; kept as far as it came" in below["text/plain"]
    assert "<table" in below["text/html"]
    assert kernel.value("(state, nbpeft.jobs()[0].state)") == ("running", "stopped")


def test_a_kernel_that_is_shut_down_ends_at_once_and_keeps_what_the_run_had(kernel, working_folder):
    sent = kernel.send("%finetune pirate --data chats --max-steps 4000 --eval 0 --background")
    assert kernel.reply(sent)["status"] == "ok"
    kernel.run("import time\nwhile not nbpeft.jobs()[0].where: time.sleep(0.05)\ntime.sleep(0.5)")
    began = time.monotonic()
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=False)
    assert time.monotonic() - began < 4.5  # after 5 s it is killed
    other = Kernel(working_folder)
    try:
        other.run(LOAD)
        assert other.value("nbpeft.adapters()['pirate'].partial") is True
    finally:
        other.stop()
