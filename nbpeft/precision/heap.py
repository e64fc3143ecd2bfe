"""What the process has freed, given back to the system."""

from __future__ import annotations

import ctypes
import platform


def give_back() -> None:
    """Hand free memory of the heap back; glibc keeps it otherwise, other allocators don't.

    Quantizing a weight on a CPU makes and frees several times its size, and what is kept of it
    comes to lie in between: left alone, the process grows by hundreds of MB of holes.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
