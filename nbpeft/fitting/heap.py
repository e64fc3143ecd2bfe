"""What a process takes from the system for its blocks: glibc's malloc, as far as it matters.

On a CPU a run takes more than what is alive in it. While it trains all blocks lie side by side in
the heap, and nothing of it is given back (`nbpeft.precision.heap.kept`); a freed block leaves a
hole that only something smaller fits into. So the blocks of a trace are laid out as glibc lays them
out: best fit, holes joined (sourceware.org/glibc/wiki/MallocInternals).
"""

from __future__ import annotations

from bisect import bisect_left, insort

ALIGNED = 64
"""What torch aligns blocks to on a CPU."""
HEADER, SMALLEST = 16, 32
SLACK = ALIGNED + SMALLEST + HEADER
"""What glibc looks for beside a block that is to be aligned: a hole that held the same block before
is too small for it."""
PINNED, SLIVER = 2, 48
"""What is left over at a block's ends serves small things, such as autograd's nodes, which keep the
holes beside from joining until the backward pass is done: at every second block, by measurement."""


class Heap:
    """Blocks laid out side by side; `end` is what the system has given for them, in bytes."""

    def __init__(self) -> None:
        self.end = 0
        self._made = 0
        self._slivers: list[int] = []
        self._top = 0
        """Where the last block ends: free from here on."""
        self._holes: list[tuple[int, int]] = []
        """(size, start), the smallest first."""
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        """Start or end of a hole -> its size."""

    def make(self, size: int, *, noted: bool) -> int:
        """Lay out a block; returns where it starts.

        Args:
            noted: whether autograd keeps something of it.
        """
        block = _block(size)
        wanted = block + SLACK
        at = bisect_left(self._holes, (wanted, 0))
        if at < len(self._holes):
            room, start = self._holes[at]
            self._close(room, start)
            end = start + room
        else:
            start = self._top
            end = self._top = start + wanted
            self.end = max(self.end, end)
        first = _aligned(start)
        self._made += noted
        is_room = end - first - block >= SLIVER
        pinned = SLIVER if noted and is_room and self._made % PINNED == 0 else 0
        if first > start:
            self._open(first - start, start)
        if end > first + block + pinned:
            self._freed(first + block + pinned, end - first - block - pinned)
        if pinned:
            self._slivers.append(first + block)
        return first

    def free(self, start: int, size: int) -> None:
        """A block that was made is free again."""
        self._freed(start, _block(size))

    def free_slivers(self) -> None:
        """What was put between blocks goes: a backward pass is done."""
        for start in self._slivers:
            self._freed(start, SLIVER)
        self._slivers.clear()

    def _freed(self, start: int, size: int) -> None:
        before, after = self._ends.get(start), self._starts.get(start + size)
        if after is not None:
            self._close(after, start + size)
            size += after
        if before is not None:
            start -= before
            self._close(before, start)
            size += before
        if start + size < self._top:
            self._open(size, start)
        else:
            self._top = start

    def _open(self, size: int, start: int) -> None:
        insort(self._holes, (size, start))
        self._starts[start] = self._ends[start + size] = size

    def _close(self, size: int, start: int) -> None:
        del self._holes[bisect_left(self._holes, (size, start))]
        del self._starts[start], self._ends[start + size]


def _block(size: int) -> int:
    """What a block takes with its header."""
    return -(-(size + 8) // 16) * 16


def _aligned(start: int) -> int:
    """Where a block begins whose contents, behind its header, lie on a multiple of ALIGNED."""
    first = -(-(start + HEADER) // ALIGNED) * ALIGNED - HEADER
    return first if first == start or first - start >= SMALLEST else first + ALIGNED
