"""The help of a magic, made from the option declarations."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable
from typing import Any

from nbpeft.attaching import attach_options
from nbpeft.cells import CONTEXT, KNOWLEDGE
from nbpeft.comparison.request import compare_options
from nbpeft.merging import merge_options
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.objectives._distill_config import TOLD
from nbpeft.places import places
from nbpeft.rating.request import rate_options
from nbpeft.request import options, typed
from nbpeft.scoring.request import score_options
from nbpeft.session.recipe import recipe_options

WIDTH = 78
COLUMN = 26


def finetune_help() -> str:
    """What `%%finetune?` shows."""
    words: list[str] = []
    settings: list[str] = []
    for option in options():
        if option.name != "name":
            (settings if option.metadata["setting"] else words).append(_line(option))
    choices = [
        f"{kind}s: " + "; ".join(f"{entry.name} ({entry.summary})" for entry in entries)
        for kind, entries in (("method", methods), ("objective", objectives), ("place", places))
    ]
    return "\n".join(
        [
            "Tune the model that is in the kernel.",
            "",
            "    %%finetune NAME --data X [--flag value …]",
            "    key: value",
            "",
            "Without a body it is a line: %finetune NAME --data X …; %finetune alone opens a form,",
            "and --form a form of what the cell asks for.",
            "",
            "Flags and the keys of the body (YAML) are the same words; the body may also hold rows",
            "under data:. Any other field of the method's or the trainer's config goes by its own",
            "name: lr_scheduler_type, warmup_steps, use_dora, …",
            "",
            *words,
            "",
            "Settings (--dry-run shows which value each one has, and where it came from):",
            "",
            *settings,
            "",
            *_wrapped(choices),
        ]
    )


def distill_help() -> str:
    """What `%%distill?` shows."""
    known = [objectives.get(CONTEXT), objectives.get(KNOWLEDGE)]
    own = frozenset({"data"}).union(*(objective.takes for objective in known))
    shown = [option for option in options() if option.name in own]
    rest = [o for o in options() if not o.metadata["signal"] and o.name not in ("data", "name")]
    return "\n".join(
        [
            "Learn what a context makes the model do, or what a larger model knows.",
            "",
            "    %%distill NAME --prompts X           the body is the context; above a line ---",
            "                                         may stand options (key: value). A list of",
            "                                         prompts with completions is examples",
            "    %%distill NAME --prompts auto        the model writes the prompts itself",
            "    %distill NAME --teacher X --student Y --data Z",
            "                                         models by their variables; a path,",
            "                                         hub:owner/name or an adapter as teacher",
            "    %distill                             opens a form",
            "",
            "What the teacher says is asked once and kept in adapters/NAME/targets, for all epochs",
            "and for the next run alike.",
            "",
            "  --prompts X              the same as --data",
            "  --student X              the same as --model",
            *map(_line, shown),
            "",
            "Fields of the trainer:",
            "",
            *_fields(),
            "",
            "Further words are those of %%finetune:",
            "",
            *map(_line, rest),
            "",
            *_wrapped(f"{objective.name}: {objective.summary}" for objective in known),
        ]
    )


def _fields() -> list[str]:
    """What says how a teacher is learned from, of the trainer's config."""
    return [
        textwrap.fill(
            f"{name}: {text}", WIDTH, initial_indent="  ", subsequent_indent=" " * 6,
            break_on_hyphens=False,
        )
        for name, text in TOLD.items()
    ]  # fmt: skip


def fit_help() -> str:
    """What `%peft_fit?` shows."""
    return "\n".join(
        [
            "Look whether a run would fit into memory, and what to change where it doesn't.",
            "",
            "    %peft_fit --data X [--flag value …]     the words are those of %finetune",
            "    %%peft_fit NAME --data X                the same, with keys in the body",
            "",
            "One step of that very run is traced by shape, on its longest rows; nothing is",
            "allocated and nothing changed. Shown is what takes how much, and what is free.",
            "",
            *[_line(option) for option in options() if option.name != "name"],
        ]
    )


def attach_help() -> str:
    """What `%peft_attach?` shows."""
    return "\n".join(
        [
            "Attach an adapter, so that model(...) and model.generate(...) answer as it.",
            "",
            "    %peft_attach NAME            the newest version; NAME@1 is an earlier one",
            "    %peft_attach --none          the base again, bit for bit",
            "    %peft_attach NAME --method M an untrained adapter, for your own loop or Trainer;",
            "                                 nbpeft.save('NAME') shelves it",
            "    %peft_attach a+b             LoRA adapters combined into one",
            "    %peft_attach NAME --rank 4   one trained with dylora, cut to that rank",
            "    %peft_attach PATH            a folder with an adapter that PEFT wrote; also",
            "                                 hub:owner/name",
            "",
            "In a cell, %%peft_attach NAME --method M, the body (YAML) may hold its options.",
            "",
            *map(_line, (*attach_options(), *recipe_options())),
            "",
            *_wrapped(["methods: " + ", ".join(method.name for method in methods)]),
        ]
    )


def compare_help() -> str:
    """What `%%peft_compare?` shows."""
    return "\n".join(
        [
            "Put the same prompts to several adapters, and show the answers side by side.",
            "",
            "    %%peft_compare base NAME …     a prompt a line below, or a YAML list for",
            "                                   long ones and for chats ({role, content})",
            "    %peft_compare [base NAME …]    a few prompts from the adapter's own data",
            "    %peft_compare … --data X       prompts are rows, their answers beside",
            "",
            "Without names: the base and every adapter of this model; NAME@1 is an earlier one.",
            "base+context is the base with the context that an adapter here was distilled from.",
            "Words that the base didn't say are marked. Plain LoRA adapters and the base answer in",
            "one batch; the texts are those that each gives alone.",
            "",
            *map(_line, compare_options()),
        ]
    )


def score_help() -> str:
    """What `%%peft_score?` shows."""
    return "\n".join(
        [
            "Rate texts with a reward model (--objective reward), or label them (classify).",
            "",
            "    %%peft_score NAME              a text a line below, or a YAML list of texts, of",
            "                                   chats, or of rows with prompt and completion",
            "    %peft_score NAME --data X      rows of data",
            "    %peft_score NAME --data X --pairwise   two answers a row, side by side",
            "",
            "Prompts are written as in training. Nothing stays attached or changed.",
            "",
            *map(_line, score_options()),
        ]
    )


def merge_help() -> str:
    """What `%peft_merge?` shows."""
    return "\n".join(
        [
            "Write the whole model as a folder, with an adapter merged into its weights.",
            "",
            "    %peft_merge NAME --to PATH     transformers' from_pretrained loads PATH",
            "    %peft_merge a+b --to PATH      LoRA adapters combined, and merged",
            "",
            "Nothing in the kernel is changed. An adapter that was trained on the base in 4 or 8",
            "bits goes into the weights as loaded, unless --into says otherwise. How far the",
            "merged model answers from the adapter is measured, and said.",
            "",
            *map(_line, merge_options()),
        ]
    )


def rate_help() -> str:
    """What `%%peft_rate?` shows."""
    return "\n".join(
        [
            "Rate answers, blind and in random order, into data to train on.",
            "",
            "    %%peft_rate base NAME …        a prompt a line below, or a YAML list",
            "    %peft_rate NAME --data X       prompts are rows; two samples of each",
            "    %peft_rate base NAME --mark    one answer at a time, 1 to 5",
            "",
            "Click, or type into the box: 1 to 6 choose the best of what is left, s skips, b says",
            "that all are bad, u takes back, f finishes. Who answered what is told at the end.",
            "",
            "Every rating goes to a file and a variable at once, and the same cell goes on where a",
            "restart came between: %finetune NAME --data ratings --objective dpo (or kto).",
            "",
            *map(_line, rate_options()),
        ]
    )


def _line(option: dataclasses.Field[Any]) -> str:
    shown = option.metadata["shown"]
    flag = f"  --{typed(option.name).replace('_', '-')}" + (f" {shown}" if shown else "")
    default = option.default if isinstance(option.default, str) else None
    text = option.metadata["help"] + (f" (default: {default})" if default else "")
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=flag.ljust(COLUMN) + " ",
        subsequent_indent=" " * (COLUMN + 1),
        break_on_hyphens=False,
    )


def _wrapped(texts: Iterable[str]) -> list[str]:
    return [
        textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False) for text in texts
    ]
