"""Who looks on: listeners of a run's events, one for each kind of frontend.

A view is a `Listener`: it is called with every event, in the thread that trains, and shows what it
likes. It never slows the run: between two updates an optimizer step costs it microseconds.
"""

from IPython.core.getipython import get_ipython

from nbpeft import page
from nbpeft.events import Listener
from nbpeft.views.notebook import NotebookView
from nbpeft.views.terminal import TerminalView

__all__ = ["NotebookView", "TerminalView", "choose"]


def choose() -> Listener:
    """A fresh view for where this code runs: a Jupyter kernel's frontend, or a terminal."""
    shell = get_ipython()
    # Only a kernel's shell has this trait; its frontends know displays that update.
    if shell is None or not shell.has_trait("kernel"):
        return TerminalView()
    if not page.shows_widgets():
        return NotebookView()
    from nbpeft.views.widget import WidgetLive

    return NotebookView(live=WidgetLive)
