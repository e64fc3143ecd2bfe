"""What a person does in JupyterLab, as a test says it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, expect

OPEN, RUN = 60_000, 120_000  # milliseconds for a notebook to open, for all its cells to run


READ = ".nbpeft-live strong, .nbpeft-comparison td, .nbpeft-adapter strong, .widget-label"
"""Texts of nbpeft's own that must be readable in every theme (WCAG 2.2, 1.4.3: 4.5 to 1)."""
CONTRAST = """selector => {
    const numbers = colour => (colour.match(/[\\d.]+/g) ?? []).map(Number);
    const light = colour => {
        const [r, g, b] = numbers(colour).slice(0, 3).map(part =>
            part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = node => {
        for (let it = node; it; it = it.parentElement) {
            const colour = getComputedStyle(it).backgroundColor;
            if ((numbers(colour)[3] ?? 1) === 1) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const found = [...document.querySelectorAll(selector)].map(node => {
        const pair = [light(getComputedStyle(node).color), light(behind(node))];
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    });
    return Math.min(21, ...found);
}"""


class Lab:
    """JupyterLab in a browser, with one notebook open in a folder of its own."""

    def __init__(self, page: Page, folder: Path, address: str, token: str, shots: Path):
        self.page = page
        self.folder = folder
        self._address = f"{address}/{folder.name}"
        self._token = token
        self._shots = shots

    @property
    def panel(self):
        return self.page.locator(".jp-NotebookPanel")

    @property
    def outputs(self):
        return self.panel.locator(".jp-OutputArea-output")

    def open(self, notebook: nbformat.NotebookNode, name: str = "notebook.ipynb") -> None:
        """Put the notebook into the folder, without its outputs, and wait for its kernel."""
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        self.reopen(notebook, name)

    def reopen(self, notebook: nbformat.NotebookNode, name: str = "reopened.ipynb") -> None:
        """The same with its outputs, which this JupyterLab, seeing a new file, doesn't trust."""
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook.metadata["kernelspec"] = spec
        self.folder.mkdir(exist_ok=True)
        nbformat.write(notebook, self.folder / name)
        self.goto(name)

    def goto(self, name: str) -> None:
        """A notebook that lies in the folder, as it is, and wait for its kernel."""
        self.page.goto(f"{self._address}/{name}?reset&token={self._token}")
        expect(self.panel).to_be_visible(timeout=OPEN)
        # The tab stands before its kernel does, and the menu before it knows of either.
        self.page.wait_for_function(
            "jupyterapp.shell.currentWidget?.sessionContext?.isReady"
            " && jupyterapp.commands.isEnabled('runmenu:run-all')",
            timeout=OPEN,
        )
        self._wait_for_idle(OPEN)

    def run_all(self, timeout: int = RUN) -> None:
        """Run → Run All Cells, to the end of the last one (or the first error)."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        self.page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
        prompts = self.panel.locator(".jp-CodeCell .jp-InputPrompt")
        # A cell that waits or runs shows [*]; none left, and the first has its number.
        expect(prompts.first).to_have_text(re.compile(r"\[\d+\]"), timeout=timeout)
        expect(prompts.filter(has_text="*")).to_have_count(0, timeout=timeout)
        self._wait_for_idle(timeout)

    def errors(self) -> list[str]:
        """What cells say on stderr or as a traceback."""
        bad = "[data-mime-type='application/vnd.jupyter.stderr'], [data-mime-type$='.error']"
        return self.panel.locator(bad).all_inner_texts()

    def screenshot(self, name: str) -> None:
        """The whole notebook, in the light and the dark theme, as build/screenshots/NAME-*.png."""
        self._show_whole()
        for theme in ("Light", "Dark"):
            self._command("apputils:change-theme", {"theme": f"JupyterLab {theme}"})
            expect(self.page.locator("body")).to_have_attribute(
                "data-jp-theme-name", f"JupyterLab {theme}"
            )
            self.page.wait_for_timeout(300)  # colours fade in
            assert self.page.evaluate(CONTRAST, READ) >= 4.5, f"{theme}: a text is hard to read"
            self.page.screenshot(path=self._shots / f"{name}-{theme.lower()}.png")
        self._command("apputils:change-theme", {"theme": "JupyterLab Light"})

    def picture(self, name: str, first: int, last: int) -> None:
        """The cells from `first` to `last`, as build/screenshots/NAME.png."""
        self._command("application:toggle-left-area")
        clip = self._laid_out(first, last)
        self.page.screenshot(path=self._shots / f"{name}.png", clip=clip)
        self._command("application:toggle-left-area")

    def window(self, name: str, at: Locator, width: int = 1100, height: int = 440) -> None:
        """The whole page in a small window, that part of it in view, as build/screenshots/NAME.png.

        Its left area, too.
        """
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(500)  # Lab lays the cells out anew
        at.scroll_into_view_if_needed()
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=self._shots / f"{name}.png")

    def _laid_out(self, first: int, last: int) -> dict[str, float]:
        """Where the cells from `first` to `last` lie, all of them in view and at rest.

        Lab lays cells out anew after the window has changed, and may scroll meanwhile.
        """
        before = None
        for _ in range(20):
            self._show_whole(width=1000)
            cells = self.panel.locator(".jp-Cell")
            top, bottom = (cells.nth(place).bounding_box() for place in (first, last))
            end = bottom["y"] + bottom["height"]
            clip = {"x": top["x"], "y": top["y"], "width": top["width"], "height": end - top["y"]}
            within = 0 <= clip["y"] < end <= self.page.viewport_size["height"]
            if within and clip == before:
                return clip
            before = clip
        raise AssertionError(f"the cells {first} to {last} don't come to rest in view: {before}")

    def _show_whole(self, width: int = 1280) -> None:
        """Make the window as high as the notebook, and show it from the top."""
        cells = self.panel.locator(".jp-Cell")
        height = sum(cells.evaluate_all("cells => cells.map(cell => cell.offsetHeight)"))
        self.page.set_viewport_size({"width": width, "height": min(int(height) + 200, 8000)})
        self.panel.locator(".jp-WindowedPanel-outer").evaluate("it => it.scrollTo(0, 0)")
        self.page.wait_for_timeout(500)  # Lab lays the cells out anew

    def save(self) -> None:
        self._command("docmanager:save")

    def close(self) -> None:
        """End the kernel, so that the next test has the cores."""
        if self.page.evaluate("typeof jupyterapp") != "undefined":
            self.page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")

    def _command(self, command: str, arguments: dict | None = None) -> None:
        self.page.evaluate("([c, a]) => jupyterapp.commands.execute(c, a)", [command, arguments])

    def _wait_for_idle(self, timeout: int) -> None:
        indicator = self.panel.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")
        expect(indicator).to_be_visible(timeout=timeout)
