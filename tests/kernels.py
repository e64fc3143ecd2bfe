"""A real Jupyter kernel, driven as a frontend drives it."""

from __future__ import annotations

import ast
import os
import queue
import signal
import time

import pytest
from jupyter_client.manager import KernelManager

SECONDS = 240  # for one cell; the first imports torch, transformers, peft and trl
SHOWS = ("display_data", "execute_result", "update_display_data")


class Kernel:
    """A kernel of this environment's own Python."""

    def __init__(self, folder):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.client()
        # No heartbeat: nothing reads it, and to join its thread has been seen to hang.
        self.client.start_channels(hb=False)
        self.client.wait_for_ready(timeout=60)

    def run(self, code, **expressions):
        """Run a cell to its end: the texts it displayed, and what the expressions are then."""
        shown, answers = self._ran(code, expressions)
        return [data.get("text/plain", "") for data in shown], answers

    def printed(self, code):
        """Run a cell to its end: what it printed."""
        sent = self.client.execute(code)
        parts = [c["text"] for kind, c in self._messages(sent) if kind == "stream"]
        assert self.reply(sent)["status"] == "ok"
        return "".join(parts)

    def displays(self, code):
        """Run a cell to its end: what it displayed, each {MIME type: content}."""
        return self._ran(code, {})[0]

    def value(self, expression):
        """A plain value of the kernel's."""
        _, answers = self.run("", answer=expression)
        assert answers["answer"]["status"] == "ok", answers["answer"]
        return ast.literal_eval(answers["answer"]["data"]["text/plain"])

    def complete(self, cell):
        """What Tab gives at the `|` of a cell: (what is replaced, {completion: its type})."""
        code, cursor = cell.replace("|", "", 1), cell.index("|")
        reply = self.reply(self.client.complete(code, cursor))
        assert reply["status"] == "ok", reply
        assert reply["cursor_end"] == cursor
        types = [c["type"] for c in reply["metadata"]["_jupyter_types_experimental"]]
        return code[reply["cursor_start"] : cursor], dict(zip(reply["matches"], types, strict=True))

    def send(self, code):
        """Send a cell and don't wait."""
        return self.client.execute(code)

    def reply(self, sent):
        """The reply to a cell that was sent; earlier ones are passed over."""
        end = time.monotonic() + SECONDS
        while True:
            message = self.client.get_shell_msg(timeout=end - time.monotonic())
            if message["parent_header"]["msg_id"] == sent:
                return message["content"]

    def wait_for_text(self, sent, text):
        """Until the running cell has shown `text`."""
        for kind, content in self._messages(sent):
            if kind in SHOWS and text in content["data"].get("text/plain", ""):
                return
        pytest.fail(f"the cell ended without showing {text!r}")

    def interrupt(self):
        self.manager.interrupt_kernel()

    def kill(self):
        """As the system does when memory is short."""
        os.kill(self.manager.provisioner.pid, signal.SIGKILL)
        self.stop()

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def _ran(self, code, expressions):
        sent = self.client.execute(code, user_expressions=expressions)
        shown = []
        for kind, content in self._messages(sent):
            if kind == "error":
                pytest.fail("\n".join([code, *content["traceback"]]))
            if kind in SHOWS:
                shown.append(content["data"])
        reply = self.reply(sent)
        assert reply["status"] == "ok", reply
        return shown, reply["user_expressions"]

    def _messages(self, sent):
        """(kind, content) of what a cell sends, until it is idle."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"after {SECONDS} s this cell is still running")
            if message["parent_header"].get("msg_id") != sent:
                continue
            content = message["content"]
            yield message["msg_type"], content
            if message["msg_type"] == "status" and content["execution_state"] == "idle":
                return
