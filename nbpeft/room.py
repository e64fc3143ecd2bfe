"""How much memory is free, on the host and on a GPU.

In a container the machine's free memory is not this process's: its control group has a limit, and
so may those above it, over which the system kills it without a word. What a group holds of files
gives way when memory is wanted, and counts as free
(docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/memory.html).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
"""In which groups this process is."""
V2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
V1 = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)
"""The limit, what is used, and the figures of cached files in memory.stat."""


def memory_in_use() -> int:
    """Bytes of tensors on the GPU, or of this process where there is none; imports no torch."""
    import psutil

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.memory_reserved())
    return int(psutil.Process().memory_info().rss)


def free_memory(device: torch.device) -> int:
    """Bytes that are free where a device's tensors lie.

    On a GPU also what torch's allocator holds and uses for nothing.
    """
    import torch

    if device.type != "cuda":
        return free_host_memory()
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def free_host_memory() -> int:
    """Bytes of host memory that are free: the least of the system's and the container's limit."""
    import psutil

    return max(0, min([psutil.virtual_memory().available, *_container_room(CGROUPS, OWN)]))


def _container_room(cgroups: Path, own: Path) -> Iterator[int]:
    """What each control group leaves that this process is in, directly or not."""
    for folder, (limit, used, cache) in _groups(cgroups, own):
        try:
            most = int((folder / limit).read_text())
            held = int((folder / used).read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):  # no such file, or "max"
            continue
        figures = dict(line.split() for line in lines)
        yield most - held + sum(int(figures.get(name, 0)) for name in cache)


def _groups(cgroups: Path, own: Path) -> Iterator[tuple[Path, tuple[str, str, tuple[str, ...]]]]:
    """Folders of groups, from the root to this process's own, and the names of their files."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    # In a container the path is often the host's, and what is mounted is the group itself.
    for line in (*lines, "0::/", "1:memory:/"):
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, files = (cgroups / "memory", V1) if controllers else (cgroups, V2)
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield base.joinpath(*parts[:depth]), files
