"""Rows from wherever the user has them, made ready for training.

    read_mix(given, namespace) ─> Source or Mix ─> tokenize(source, tokenizer, …) ─> Rows

`sources` finds the rows (with `files` for paths, `hub` for the hub), `mix` puts several together.
`formats` and `spellings` are the tables of what rows look like, `detect` chooses among them,
`recipes` writes the choice down in Python. `checks` refuses rows that can't be trained on; `split`
holds some out, with `copies` of a row kept on one side; `parts` is the outcome and `findings` what
the plan says of it. `rendering` writes prompts for the model, `masks` turns rows into tokens with
the answers marked (`answers` finds them, by `marks` or prefixes, `ends` their ends; `sides` are an
encoder-decoder's prompts and answers), and `encode` does so with whole data sets. `gate` refuses
what teaches nothing, and `look` shows it all before a run. Importing this package is light: torch,
transformers, datasets and pandas are imported where they are used.
"""

from __future__ import annotations

from nbpeft.data.mix import Mix, read_mix
from nbpeft.data.prepare import Rows, tokenize
from nbpeft.data.prompts import prompts
from nbpeft.data.rendering import PLAIN_TEMPLATE, Rendering, default_rendering
from nbpeft.data.sources import Source, read

__all__ = [
    "PLAIN_TEMPLATE",
    "Mix",
    "Rendering",
    "Rows",
    "Source",
    "default_rendering",
    "prompts",
    "read",
    "read_mix",
    "tokenize",
]
