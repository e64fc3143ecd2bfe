"""The process's heap: what is freed, given back to the system, or kept while it is needed again.

glibc's malloc gives large blocks back to the system as soon as they are freed, and maps them anew:
a training step on a CPU then spends a fifth of its time on fresh pages of zeros.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""glibc's malloc.h."""
MMAP_MAX = 65_536
"""How many blocks glibc maps apart at most, unless told otherwise."""
SETTLED = 1 << 25
"""From which size blocks are mapped apart once glibc has adjusted itself to large ones; telling it
anything ends that adjusting for good (mallopt(3))."""
UNBOUNDED = (1 << 31) - 1


def give_back() -> None:
    """Hand free memory of the heap back; glibc keeps it otherwise, other allocators don't.

    Quantizing a weight on a CPU makes and frees several times its size, and what is kept of it
    comes to lie in between: left alone, the process grows by hundreds of MB of holes.
    """
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory stays with the process; after, what is free is given back."""
    if not _is_glibc():
        yield
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, UNBOUNDED)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, MMAP_MAX)
        mallopt(M_MMAP_THRESHOLD, SETTLED)
        mallopt(M_TRIM_THRESHOLD, 2 * SETTLED)
        give_back()


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
