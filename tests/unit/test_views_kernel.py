"""The notebook's view in a real kernel: what arrives, and what a saved notebook then holds."""

import base64
import os
import textwrap
import time

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

RUN = textwrap.dedent("""
    import sys, time
    from nbpeft.events import Evaluated, Finished, Progressed, Started
    from nbpeft.views import choose
    view = choose()
    view(Started("pirate", 1_000))
    view(Evaluated(0, 2.3))
    for step in range(1, 1_001):
        time.sleep(0.0005)
        view(Progressed(step, 1_000, 2.3 - step / 1_000, 1e-3, step * 0.0005, step))
    view(Evaluated(1_000, 1.4))
    view(Finished("pirate@1", False, (("says", "<script>alert(1)</script> \\x1b[31m"),)))
    assert "matplotlib.pyplot" not in sys.modules
""")


class Frontend(NotebookClient):
    """nbclient, which also keeps every display message and when it came."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] in ("display_data", "update_display_data"):
            self.seen.append((time.monotonic(), msg))
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def ran(root, tmp_path_factory):
    """A notebook of one run, saved and reopened, and the messages that its kernel sent."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(RUN)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]))
        client = Frontend(notebook, timeout=60, kernel_name="python3")
        client.seen = []
        client.execute()
    path = tmp_path_factory.mktemp("saved") / "run.ipynb"
    nbformat.write(notebook, path)
    return nbformat.read(path, as_version=4), client.seen


def test_updates_arrive_while_the_cell_runs(ran):
    _, seen = ran
    first, *updates, curve, _table = [message for _, message in seen]
    assert {message["msg_type"] for message in [*updates, curve]} == {"update_display_data"}
    ids = {m["content"]["transient"]["display_id"] for m in [first, *updates, curve]}
    assert len(ids) == 1
    lines = [message["content"]["data"]["text/plain"] for message in updates]
    assert "step 1000/1000" in lines[-1]
    assert 3 <= len(lines) <= 12
    times = [moment for moment, message in seen if message["msg_type"] == "update_display_data"]
    assert times[-2] - times[0] > 0.4


def test_the_saved_notebook_holds_only_what_stays(ran):
    notebook, _ = ran
    curve, table = notebook.cells[0].outputs
    assert set(curve.data) == {"image/png", "text/plain"}
    assert curve.data["text/plain"] == "[nbpeft] pirate · 1,000 steps"
    assert base64.b64decode(curve.data["image/png"]).startswith(b"\x89PNG\r\n\x1a\n")
    assert set(table.data) == {"text/html", "text/plain"}
    assert table.data["text/plain"].startswith("[nbpeft] pirate@1 is trained and kept\n")
    assert "widget" not in nbformat.writes(notebook)


def test_it_converts_to_html(ran):
    notebook, _ = ran
    page, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    assert "data:image/png;base64," in page
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
