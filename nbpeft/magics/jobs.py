"""%peft_jobs: the background runs, to wait for and to stop."""

from __future__ import annotations

from nbpeft import api
from nbpeft.background import Jobs
from nbpeft.errors import RequestError
from nbpeft.typed import known_words, split_line

FLAGS = frozenset({"wait", "stop"})


def peft_jobs(line: str) -> Jobs:
    """List the runs that %%finetune … --background has begun, and wait for or stop them.

    %peft_jobs                   name, state, step, time left
    %peft_jobs --wait            until all are over; raises what the first of them raised
    %peft_jobs --wait NAME …     until these are over
    %peft_jobs --stop NAME …     end these after their step; what waits is never begun
    %peft_jobs --stop all        end all
    --wait                       block until they are over; ■ ends the waiting, not the runs
    --stop                       end them, each keeping its adapter as far as it is
    """
    words, names = split_line(line, flags=FLAGS)
    known_words(words, FLAGS, "%peft_jobs")
    if names and not words:
        raise RequestError(
            f"%peft_jobs lists all; say what for: %peft_jobs --wait {names[0]}, or --stop."
        )
    return api.execute_jobs(names, wait=bool(words.get("wait")), stop=bool(words.get("stop")))
