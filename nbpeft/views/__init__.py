"""Who looks on: listeners of a run's events, one for each kind of frontend.

A view is a `Listener`: it is called with every event, in the thread that trains, and shows what it
likes. It never slows the run: between two updates an optimizer step costs it microseconds.
"""

from IPython.core.getipython import get_ipython

from nbpeft import page
from nbpeft.events import Listener
from nbpeft.views.corner import Corner
from nbpeft.views.notebook import NotebookView, Publish, publish
from nbpeft.views.terminal import TerminalView

__all__ = ["Corner", "NotebookView", "TerminalView", "choose", "is_notebook"]


def is_notebook() -> bool:
    """Whether this is a Jupyter kernel, whose frontends know displays that update."""
    shell = get_ipython()
    # Only a kernel's shell has this trait.
    return shell is not None and shell.has_trait("kernel")


def choose(publish: Publish = publish) -> Listener:
    """A fresh view for where this code runs: a Jupyter kernel's frontend, or a terminal.

    Args:
        publish: shows things in the notebook; by default in the output of the cell that runs.
    """
    if not is_notebook():
        return TerminalView()
    if not page.shows_widgets():
        return NotebookView(publish)
    from nbpeft.views.widget import WidgetLive

    return NotebookView(publish, live=WidgetLive)
