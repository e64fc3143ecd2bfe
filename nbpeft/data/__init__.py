"""Rows from wherever the user has them, made ready for training.

    read(given, namespace) ─> Source ─> tokenize(source, tokenizer, …) ─> Rows

`sources` finds the rows (with `files` for paths, `hub` for the hub), `formats` says how they are
read, `checks` refuses rows that can't be trained on, `split` holds some out, `rendering` writes
prompts for the model and `masks` turns rows into tokens with the answers marked (`answers` finds
them, by `marks` or prefixes, `ends` their ends). `gate` refuses what teaches nothing, and `look`
shows it all before a run. Importing this package is light: torch, transformers, datasets and pandas
are imported where they are used.
"""

from __future__ import annotations

from nbpeft.data.prepare import Rows, tokenize
from nbpeft.data.prompts import prompts
from nbpeft.data.rendering import PLAIN_TEMPLATE, Rendering, default_rendering
from nbpeft.data.sources import Source, read

__all__ = [
    "PLAIN_TEMPLATE",
    "Rendering",
    "Rows",
    "Source",
    "default_rendering",
    "prompts",
    "read",
    "tokenize",
]
