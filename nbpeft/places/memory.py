"""How much memory a run holds, read so seldom that it costs nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SECONDS_APART = 0.5


class Memory:
    """Bytes held by tensors on the model's GPU, or by this process where the model lies elsewhere.

    On a GPU the peak is the allocator's own. A process is only looked at twice a second; after a
    forward pass, when all activations are alive, is the moment to do it.
    """

    def __init__(self, device: torch.device) -> None:
        import psutil
        import torch

        self.now = 0
        self.peak = 0
        self._device = device
        self._cuda = device.type == "cuda"
        self._process = psutil.Process()
        self._next_time = 0.0
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(device)

    def look(self) -> None:
        """Read both figures, unless they are fresh."""
        time_now = time.monotonic()
        if time_now < self._next_time:
            return
        self._next_time = time_now + SECONDS_APART
        self.read()

    def read(self) -> None:
        """Read both figures."""
        if self._cuda:
            import torch

            self.now = torch.cuda.memory_allocated(self._device)
            self.peak = torch.cuda.max_memory_allocated(self._device)
        else:
            self.now = self._process.memory_info().rss
            self.peak = max(self.peak, self.now)
