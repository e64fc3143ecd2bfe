"""%peft_score: texts rated by a reward model, or labelled by a classifier."""

from __future__ import annotations

from nbpeft.magics.help import score_help
from nbpeft.scoring.doors import execute_score
from nbpeft.scoring.request import ScoreRequest
from nbpeft.scoring.result import Pairs, Predictions, Scores
from nbpeft.typed import read_rows, split_line

FLAGS = frozenset({"pairwise"})
TEXTS = frozenset({"model", "tokenizer", "data"})


def peft_score(line: str, cell: str | None = None) -> Scores | Pairs | Predictions:
    words, names = split_line(line, flags=FLAGS, texts=TEXTS)
    return execute_score(ScoreRequest.of(names, words), None if cell is None else read_rows(cell))


peft_score.__doc__ = score_help()
