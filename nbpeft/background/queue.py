"""Whose turn it is among the background runs: one at a time, in the order of their coming."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from nbpeft.errors import Stopped

if TYPE_CHECKING:
    from nbpeft.background.job import Job

KEPT = 100
"""Jobs that are listed; of those that are over the earliest go."""
AT_EXIT = 3.0
"""Seconds that a kernel which ends waits for a run to keep what it has."""


class Queue:
    """The jobs of a kernel, those that are over too."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: list[Job] = []

    @property
    def jobs(self) -> list[Job]:
        """All of them, the earliest first."""
        with self._changed:
            return list(self._jobs)

    @property
    def open(self) -> list[Job]:
        """Those that run or wait."""
        return [job for job in self.jobs if not job.is_over]

    def add(self, job: Job) -> None:
        """The last in the queue."""
        with self._changed:
            over = [old for old in self._jobs if old.is_over]
            for old in over[: max(0, len(self._jobs) + 1 - KEPT)]:
                self._jobs.remove(old)
            self._jobs.append(job)

    def drop(self, job: Job) -> None:
        """One that was refused was never there."""
        with self._changed:
            self._jobs.remove(job)

    def before(self, job: Job) -> list[Job]:
        """Those that come first, and aren't over."""
        with self._changed:
            return [j for j in self._jobs[: self._jobs.index(job)] if not j.is_over]

    def wait(self, job: Job) -> None:
        """Until it is this job's turn; Stopped where it is asked to end meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: job.is_asked or not self.before(job))
        if job.is_asked:
            raise Stopped(f"{job.name} was taken from the queue; nothing is changed.")

    def tell(self) -> None:
        """A job is over, or was asked to stop."""
        with self._changed:
            self._changed.notify_all()

    def end(self) -> None:
        """The kernel ends: runs are asked to stop, and those that are quick keep what they have."""
        until = time.monotonic() + AT_EXIT
        for job in self.open:
            job.ask()
        for job in self.open:
            job.join(max(0.0, until - time.monotonic()))


queue = Queue()
"""This kernel's."""
