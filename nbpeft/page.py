"""The page in front of the kernel: whether it shows widgets, and how its Stop reaches a run.

nbpeft's JupyterLab extension (labextension/) says hello when `%load_ext nbpeft` opens a comm. A
page that did has it, and with it JupyterLab's or Notebook's own widgets; another one (an nbconvert
run, a page whose server has other packages than the kernel) would show an error in their place.

Hello and Stop come on the control channel, which ipykernel reads in a thread of its own while a
cell runs (https://jupyter-client.readthedocs.io/en/stable/messaging.html).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft import stop
from nbpeft.config import settings
from nbpeft.rendering import plain

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

NAME = "nbpeft"
"""Of the comm's target; the control messages' types begin with it."""


class Page:
    """One kernel's end of the thread."""

    def __init__(self) -> None:
        self.answered = False
        self._comm: Any = None
        self._news: Callable[[], Any] | None = None
        self._runs: dict[str, Any] = {}

    def open(self, kernel: Any, news: Callable[[], Any] | None = None) -> None:
        """Say hello, and listen for Stop; nothing where the kernel has no comms (Colab's).

        Args:
            news: what `tell` says, for JSON.
        """
        self._news = news
        for word, act in self._acts.items():
            kernel.control_handlers[f"{NAME}_{word}"] = self._answering(kernel, word, act)
        with contextlib.suppress(ImportError):
            from comm import create_comm

            self._comm = create_comm(target_name=NAME, data={})

    def close(self, kernel: Any) -> None:
        """Take back what `open` did."""
        for word in self._acts:
            kernel.control_handlers.pop(f"{NAME}_{word}", None)
        if self._comm is not None:
            self._comm.close()
        self._comm, self.answered = None, False

    def tell(self) -> None:
        """Tell a page that has said hello how things stand."""
        if self.answered and self._news is not None:
            try:
                news = self._news()
            except Exception as error:  # noqa: BLE001  no cell is to blame: the sidebar shows it
                news = {"problem": plain(str(error) or repr(error), one_line=True)}
            self._send({"standing": news})

    def tell_run(self, run: Mapping[str, Any]) -> None:
        """Tell it how far a run is (`id`, `ended` and what else is drawn), for JSON."""
        if run["ended"]:
            self._runs.pop(run["id"], None)
        else:
            self._runs[run["id"]] = run
        if self.answered:
            self._send({"run": run})

    def insert(self, source: str, below: str) -> bool:
        """Have it insert a cell; False where there is no page that could."""
        if self.answered and self._comm is not None:
            self._send({"insert": {"source": source, "below": below}})
            return True
        return False

    def tell_file(self, path: Path, size: int) -> None:
        """Tell it of a file for the user to take away; where it lies from the notebook's folder."""
        if self.answered and path.is_relative_to(Path.cwd()):
            self._send({"file": {"path": path.relative_to(Path.cwd()).as_posix(), "size": size}})

    def _send(self, data: Any) -> None:
        if self._comm is not None:
            self._comm.send(data)

    @property
    def comm_id(self) -> str | None:
        """The comm's name; None where there is none."""
        return None if self._comm is None else str(self._comm.comm_id)

    @property
    def _acts(self) -> dict[str, Callable[[Any], bool]]:
        """What each message does with its content, and whether it could."""
        return {"hello": self._hello, "stop": self._stop}

    def _hello(self, _content: Any) -> bool:
        self.answered = True
        self.tell()
        for run in list(self._runs.values()):
            self._send({"run": run})
        return True

    def _stop(self, content: Any) -> bool:
        run = content.get("run")
        return isinstance(run, str) and stop.ask(run)

    def _answering(self, kernel: Any, word: str, act: Callable[[Any], bool]) -> Any:
        """A handler of a control message as ipykernel calls it.

        The reply says whether it could act, and which comm a page that was loaded meanwhile finds
        the news on: comms are asked for on the shell's channel, where a cell may run.
        """

        def handler(stream: Any, identity: Any, parent: Any) -> None:
            done = act(parent["content"])
            content = {"status": "ok", "done": done, "comm": self.comm_id}
            kind = f"{NAME}_{word}_reply"
            kernel.session.send(stream, kind, content, parent=parent, ident=identity)

        return handler


_page = Page()


def opened(shell: InteractiveShell, news: Callable[[], Any]) -> None:
    """`%load_ext nbpeft` in a kernel; in a terminal there is no page.

    Args:
        news: what the page is told after each cell, for JSON.
    """
    closed(shell)  # %reload_ext
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        _page.open(kernel, news)
        shell.events.register("post_run_cell", _after_cell)


def closed(shell: InteractiveShell) -> None:
    """`%unload_ext nbpeft`."""
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        _page.close(kernel)
        with contextlib.suppress(ValueError):  # it wasn't open
            shell.events.unregister("post_run_cell", _after_cell)


def _after_cell(_result: Any) -> None:
    _page.tell()


def tell_run(run: Mapping[str, Any]) -> None:
    """Tell the page, if it has the extension, how far a run is."""
    _page.tell_run(run)


def insert(source: str, below: str) -> bool:
    """Have the page, if it has the extension, insert a cell below another; whether it will.

    Args:
        below: that cell's id; of none, the cell that is looked at.
    """
    return _page.insert(source, below)


def tell() -> None:
    """Tell the page how things stand, after what no cell did."""
    _page.tell()


def tell_file(path: Path, size: int) -> None:
    """Tell the page of a file that a user would take away, and its size in bytes."""
    _page.tell_file(path, size)


def shows_widgets() -> bool:
    """Whether a widget is wanted and sure to be shown: by a page with the extension, or VS Code."""
    from IPython.core.getipython import get_ipython

    if not settings().widgets:
        return False
    shell: Any = get_ipython()
    return _page.answered or (shell is not None and "__vsc_ipynb_file__" in shell.user_ns)
