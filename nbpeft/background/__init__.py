"""Runs that go on in a thread while the notebook's next cells run.

    request ─> start: refused here, or a Job ─> queue: one at a time ─> apart: its own surroundings
    ─> fence: its models are nobody else's ─> chains.run, as in the foreground

The cell returns once the run is prepared, so that whatever can be refused is refused in it; where
an earlier run goes on, at once, and what can't be looked at before its turn is then. One run at a
time in a kernel: two on one machine take as long as one after the other, and whether a run fits is
judged by the memory that is free when it begins.

Random states stay as the run leaves them: the user's cells may be drawing from them.
"""

from nbpeft.background.job import Job
from nbpeft.background.listing import Jobs, jobs
from nbpeft.background.starting import start

__all__ = ["Job", "Jobs", "jobs", "start"]
