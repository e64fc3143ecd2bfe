"""What every benchmark writes: a table to read, and a file with the machine that it is of.

Files that the README shows are kept in `benchmarks/measured/`; `python tools/readme.py` makes its
tables of them.
"""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from nbpeft.recording import library_versions
from nbpeft.rendering import Table, bytes_size

FOLDER = Path(__file__).resolve().parent.parent / "build" / "bench"


def machine() -> dict[str, Any]:
    """The hardware, and how much of it torch uses."""
    cuda = torch.cuda.is_available()
    return {
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory": bytes_size(psutil.virtual_memory().total),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "python": platform.python_version(),
        **library_versions(),
    }


def publish(name: str, table: Table, figures: Any) -> None:
    """Print the table, and write `build/bench/NAME.json`: figures, machine, date."""
    print(table.text())
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = {
        "benchmark": name,
        "title": table.title,
        "header": table.header,
        "rows": table.rows,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "figures": figures,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    """Its name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
