"""Runs that are several: rows are made by models, kept as data, and then learned from.

    rlaif:                   answers ─> pairs ─> NAME (dpo)
    constitution:            answers ─> revisions ─> NAME-sft (sft) ─> pairs ─> NAME (dpo)
    context-distillation:    prompts (where the data are auto) ─> NAME
    knowledge-distillation:  NAME ─> NAME-labels (sft), to compare with

Each stage's data stand beside the adapter, in `adapters/NAME/feedback/`, a row as soon as it is
made; `--resume` goes on with the stage that was stopped and redoes none that is done.
"""

from nbpeft.chains.running import run

__all__ = ["run"]
