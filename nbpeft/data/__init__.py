"""Rows from wherever the user has them, made ready for training.

    read_mix(given, namespace) ─> Source or Mix ─> tokenize(source, tokenizer, …) ─> Rows

`finding` has the rows wherever they are, and mixes several; `reading` knows the formats and which
one fits; `splitting` holds some out, with copies of a row on one side, and makes judgements of one
kind of another; `tokens` writes rows for the model and marks the tokens to train; `signals` say
what an objective learns from; `looking` shows it all before a run; `hosting` writes rows for
services that tune elsewhere. `prepare` goes the whole way, `tokenize` for answers to imitate,
`prompts` takes rows as questions, `examples` as what is shown before a question. Importing this
package is light: torch, transformers, datasets and pandas are imported where they are used.
"""

from __future__ import annotations

from nbpeft.data.finding.mix import Mix, read_mix
from nbpeft.data.finding.sources import Source, read
from nbpeft.data.prepare import Rows, prepare, tokenize
from nbpeft.data.prompts import prompts
from nbpeft.data.tokens.rendering import PLAIN_TEMPLATE, Rendering, default_rendering

__all__ = [
    "PLAIN_TEMPLATE",
    "Mix",
    "Rendering",
    "Rows",
    "Source",
    "default_rendering",
    "prepare",
    "prompts",
    "read",
    "read_mix",
    "tokenize",
]
