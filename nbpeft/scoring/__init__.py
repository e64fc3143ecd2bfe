"""Scores and labels of texts, by an adapter that has a head: reward models and classifiers.

    Rater(session, handle, record, tokenizer).rate([[3, 5, 8], …]) ─> [0.7, …]

`rater` reads texts as an adapter, `texts` has them from lines or data, `result` shows what came of
it, `request` holds the words of `%peft_score`.
"""

from nbpeft.scoring.rater import Rater

__all__ = ["Rater"]
