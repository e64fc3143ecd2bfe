"""The README is true: its cells run in order, in a real kernel."""

from __future__ import annotations

import re

from kernels import Kernel


def test_every_cell_of_the_readme_runs(root, working_folder):
    cells = re.findall(r"```ipython\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    assert len(cells) >= 6
    kernel = Kernel(working_folder)
    try:
        for cell in cells:
            kernel.run(cell)
        assert kernel.value("sorted(nbpeft.adapters())") == ["brief", "pirate", "polite", "terse"]
        assert kernel.value("nbpeft.session.current().attached()") == []
        assert kernel.value("run.metrics['held_out_loss'] > 0") is True
    finally:
        kernel.stop()
