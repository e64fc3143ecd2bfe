"""Rows of each signal, made ready: `preferences(source, tokenizer, max_length=…)`, …"""

from __future__ import annotations

from functools import partial

from nbpeft.data import prepare
from nbpeft.data.signals import Labels, Preferences, Prompts, Ratings, Texts

preferences = partial(prepare, Preferences())
ratings = partial(prepare, Ratings())
labelled = partial(prepare, Labels())
texts = partial(prepare, Texts())


def asked(source, tokenizer, *, max_new_tokens, **words):
    return prepare(Prompts(max_new_tokens=max_new_tokens), source, tokenizer, **words)
