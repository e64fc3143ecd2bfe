"""What widgets in an output have in common: how they are displayed, and in which thread clicks act.

A notebook that is opened later has no widgets. So nothing that is to stay stands in one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MIME = "application/vnd.jupyter.widget-view+json"
GONE = "[nbpeft] The buttons lived as long as the kernel that showed them: run the cell again."
"""What stands there once they are gone."""

Later = Callable[[Callable[[], None]], Any]
"""Has something done in the kernel's own thread, as soon as no cell runs there."""


def joined(folder: Path, *names: str) -> str:
    """A widget's script or style: what all have in common, then its own files, in their order.

    anywidget takes one text of each. In a script only the last file exports.
    """
    common = Path(__file__).with_name(f"common{Path(names[0]).suffix}")
    files = [common, *(folder / name for name in names)]
    return "\n".join(file.read_text("utf-8") for file in files)


def view_of(widget: Any) -> dict[str, Any]:
    """A widget's view, as a display's data under `MIME`."""
    return {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}


def later() -> Later | None:
    """That of the kernel that this code runs in; None in a terminal and in plain Python.

    A click's message may come in another thread than the kernel's own, while a cell runs there
    (JEP 91, subshells).
    """
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    # Only a kernel's shell has this trait, and only its frontends have widgets.
    if shell is None or not shell.has_trait("kernel"):
        return None
    return shell.kernel.io_loop.add_callback  # type: ignore[no-any-return]


class Cell:
    """A cell that once ran: `with cell():` what is shown and printed comes below it.

    Output goes to the cell whose message is the parent
    (https://jupyter-client.readthedocs.io/en/stable/messaging.html#parent-header); frontends go on
    listening for as long as the cell isn't run again.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._parent = shell.get_parent()

    @property
    def name(self) -> str:
        """What the frontend calls it; '' where it doesn't say."""
        return str(self._parent.get("metadata", {}).get("cellId", ""))

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """What happens inside is shown below the cell."""
        before = self._shell.get_parent()
        self._shell.set_parent(self._parent)
        try:
            yield
        finally:
            self._shell.set_parent(before)


def this_cell() -> Cell:
    """The cell that runs now."""
    from IPython.core.getipython import get_ipython

    return Cell(get_ipython())
