"""Run the quickstart without a browser and print the comparison that it made (`make demo`)."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "01-one-cell.ipynb"
FOLDER = ROOT / "build" / "demo"  # the kernel's working folder: its adapters land here too
COMPARISON = "[nbpeft] comparison"


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": FOLDER}},
        extra_arguments=["--log-level=ERROR"],  # its warnings are about a network that isn't there
    )
    failed = ""
    start = time.monotonic()
    print(f"running notebooks/{NOTEBOOK.name} ...", flush=True)
    try:
        client.execute()
    except CellExecutionError as error:
        failed = str(error)
    seconds = time.monotonic() - start

    executed = FOLDER / NOTEBOOK.name
    nbformat.write(notebook, executed)
    page = executed.with_suffix(".html")
    page.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")

    tables = comparisons(notebook)
    print("\n\n".join(tables))
    print(f"\nran in {seconds:.0f} s")
    print(f"notebook  {executed.relative_to(ROOT)}")
    print(f"page      {page.relative_to(ROOT)}")
    if failed or not tables:
        print(failed or "the notebook made no comparison", file=sys.stderr)
        return 1
    return 0


def comparisons(notebook: nbformat.NotebookNode) -> list[str]:
    """The text of every comparison among a notebook's outputs, in their order."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    texts = (output.get("data", {}).get("text/plain", "") for output in outputs)
    return [text for text in texts if text.startswith(COMPARISON)]


if __name__ == "__main__":
    sys.exit(main())
