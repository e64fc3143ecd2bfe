"""The list of background runs: a table, and where one is found by its name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbpeft.background.job import Job
from nbpeft.background.queue import queue
from nbpeft.errors import RequestError, did_you_mean, listed, quoted
from nbpeft.rendering import Table, count, plain

ALL = "all"


class Jobs(tuple[Job, ...]):
    """Jobs, the earliest first; shows itself as a table."""

    __slots__ = ()

    def of(self, name: str) -> Jobs:
        """Those of that name; RequestError where there is none."""
        found = Jobs(job for job in self if job.name == name)
        if not found:
            names = list(dict.fromkeys(job.name for job in self))
            raise RequestError(
                f"There is no background run {quoted(name)}.{did_you_mean(name, names)} "
                f"There are: {listed(names)}."
            )
        return found

    def stop(self) -> None:
        """End those that aren't over, the last first, so that none begins meanwhile."""
        for job in reversed(self):
            if not job.is_over:
                job.stop()

    def wait(self) -> None:
        """Until all are over; raises what the first of them raised."""
        for job in self:
            job.wait()

    @property
    def untold(self) -> Jobs:
        """Those of whose end nobody who waited has been told."""
        return Jobs(job for job in self if not job.told)

    def table(self) -> Table:
        """One row a job."""
        return Table(
            title=f"{count(len(self))} background run{'' if len(self) == 1 else 's'}",
            header=("name", "state", "step", "left"),
            rows=tuple((job.name, job.state, job.where, job.left) for job in self),
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterable[str]:
        if not self:
            yield "None yet: %%finetune NAME --data X --background makes one."
        for job in self:
            if job.error is not None:
                yield f"{job.name}: {plain(str(job.error), one_line=True)}"

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def jobs() -> Jobs:
    """Those of this kernel, the earliest first."""
    return Jobs(queue.jobs)
