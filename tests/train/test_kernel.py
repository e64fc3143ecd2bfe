"""In a real kernel: Stop under Run All, a kernel that is killed, a model that is loaded again."""

from __future__ import annotations

import pytest
from kernels import Kernel

LOAD = """
%load_ext nbpeft
import nbpeft, torch
model, tokenizer = nbpeft.load_tiny()
chats = nbpeft.load_data("pirate")
"""
LOGITS = "float(model(torch.arange(4, 28)[None]).logits.sum())"


@pytest.fixture
def kernel(working_folder):
    kernel = Kernel(working_folder)
    kernel.run(LOAD)
    yield kernel
    kernel.stop()


def test_stop_under_run_all(kernel, working_folder):
    before = kernel.value(LOGITS)
    first = kernel.send("%finetune pirate --data chats --max-steps 4000 --eval 0")
    second = kernel.send("ran_on = True")
    kernel.wait_for_text(first, "· step ")  # which ones are shown is the throttle's
    kernel.interrupt()
    stopped, after = kernel.reply(first), kernel.reply(second)
    assert (stopped["status"], stopped["ename"]) == ("error", "Stopped")
    assert "kept" in stopped["evalue"]
    assert len("".join(stopped["traceback"]).splitlines()) == 1
    assert after["status"] in ("aborted", "error")
    assert kernel.value("'ran_on' in globals()") is False
    assert kernel.value("nbpeft.adapters()['pirate'].partial") is True
    assert kernel.value(LOGITS) == before


def test_a_killed_kernel_loses_nothing_that_was_kept(kernel, working_folder):
    kernel.run("%finetune pirate --data chats --max-steps 3 --eval 0 --learning-rate 1e-2 --attach")
    tuned = kernel.value(LOGITS)
    kernel.kill()
    other = Kernel(working_folder)
    try:
        other.run(LOAD)
        assert other.value("list(nbpeft.adapters())") == ["pirate"]
        tables, _ = other.run("%peft_adapters")
        assert "pirate" in tables[0]
        other.run("%peft_attach pirate")
        assert other.value(LOGITS) == tuned
    finally:
        other.stop()


def test_the_loading_cell_again(kernel):
    """Run twice, with outputs kept in Out: the old model goes, its adapters come over."""
    kernel.run("%finetune pirate --data chats --max-steps 3 --eval 0 --attach\n")
    kernel.run("nbpeft.adapters()")
    kernel.run("%%peft_compare base pirate\nHi\n")
    kernel.run("import weakref; old = weakref.ref(model)")
    kernel.run('model, tokenizer = nbpeft.load_tiny()\n"shown"')
    kernel.run("import gc; gc.collect()")
    assert kernel.value("old() is None") is True
    kernel.run("%peft_attach pirate")
    assert kernel.value("list(nbpeft.session.current().attached())") == ["pirate@1"]


def test_what_a_user_reads_when_something_is_wrong(kernel):
    reply = kernel.reply(kernel.send("%finetune pirate --data chat"))
    assert reply["status"] == "error"
    assert len("".join(reply["traceback"]).splitlines()) == 1
    assert "Did you mean chats?" in reply["evalue"]
