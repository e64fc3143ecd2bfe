"""How much memory is free, on the host and on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CGROUPS = Path("/sys/fs/cgroup")
_FILES = (
    # Version 2, then 1: the limit, what is used, and where the cache of files stands.
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


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

    return min([psutil.virtual_memory().available, *_container_room(CGROUPS)])


def _container_room(cgroups: Path) -> Iterator[int]:
    """What a cgroup leaves, where one limits this process; its cache of files gives way."""
    for limit, used, figures, cache in _FILES:
        try:
            most = int((cgroups / limit).read_text())
            held = int((cgroups / used).read_text())
            pairs = (line.split() for line in (cgroups / figures).read_text().splitlines())
            yield most - held + int(dict(pairs)[cache])
        except (OSError, ValueError, KeyError):  # no such file, or "max"
            continue
