"""Rows that are made by models: some prompts at a time, each kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.chains.kept import Kept
from nbpeft.errors import Stopped
from nbpeft.events import Events, Noted
from nbpeft.guard import process_state_kept
from nbpeft.quiet import quiet

if TYPE_CHECKING:
    from nbpeft.stop import Stop

AT_ONCE = 8
"""Prompts that are answered together."""
LINES = 5
"""How often it is said how far it is."""

Make = Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]]
"""Rows of prompts -> a row each to be kept."""


def made(  # noqa: PLR0917  what making rows takes
    name: str,
    kept: Kept,
    stage: str,
    prompts: Sequence[dict[str, Any]],
    make: Make,
    seed: int,
    events: Events,
    stop: Stop,
) -> list[dict[str, Any]]:
    """The rows of a stage, one a prompt; those that are kept already aren't made again.

    A batch of prompts is drawn under a seed of its own, so that a chain which was stopped comes to
    the same rows.

    Raises:
        Stopped: the user stopped it; what is made so far is kept.
    """
    import torch

    rows = kept.rows(stage)
    begun = len(rows) - len(rows) % AT_ONCE
    told = len(prompts) // LINES + 1
    for start in range(begun, len(prompts), AT_ONCE):
        if stop.asked:
            raise Stopped(
                f"{name} was stopped: {stage} of {start} of {len(prompts)} prompts are kept; go on "
                f"with %finetune {name} --resume."
            )
        part = prompts[start : start + AT_ONCE]
        with quiet(), process_state_kept(), stop.interruptible():
            torch.manual_seed(seed + start)
            new = make(part)
        done = len(rows) - start  # of a batch that was broken off while it was written
        rows += new[done:]
        kept.add(stage, new[done:])
        if start // told != (start + len(part)) // told:
            events.emit(Noted(f"{stage}: {start + len(part)} of {len(prompts)} prompts"))
    return rows
