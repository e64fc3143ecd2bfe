"""Runs that are several: answers are made and judged, kept as data, and then learned from.

    rlaif:         answers ─> pairs ─> NAME (dpo)
    constitution:  answers ─> revisions ─> NAME-sft (sft) ─> pairs ─> NAME (dpo)

Each stage's data stand beside the adapter, in `adapters/NAME/feedback/`, a row as soon as it is
made; `--resume` goes on with the stage that was stopped and redoes none that is done.
"""

from nbpeft.chains.running import run

__all__ = ["run"]
