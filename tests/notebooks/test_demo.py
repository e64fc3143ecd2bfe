"""`make demo` prints a comparison and says where the notebook and its page lie."""

from __future__ import annotations

import subprocess
import sys


def test_demo_prints_the_comparison_and_where_the_files_lie(root):
    script = [sys.executable, root / "notebooks" / "run.py"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[nbpeft] comparison" in done.stdout
    for name in ("01-one-cell.ipynb", "01-one-cell.html"):
        assert f"build/demo/{name}" in done.stdout
        assert (root / "build" / "demo" / name).stat().st_size > 0
