"""The Python calls that score texts; the magic of the same name ends here, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nbpeft import data as data_
from nbpeft import variables
from nbpeft.defaults import row_length
from nbpeft.errors import RequestError
from nbpeft.scoring.rater import Rater
from nbpeft.scoring.request import ScoreRequest
from nbpeft.scoring.result import Pairs, Predictions, Scores
from nbpeft.scoring.texts import Item, Writing


def score(
    name: str, texts: Sequence[Any] | None = None, *, data: Any = None, model: Any = None,
    tokenizer: Any = None, pairwise: bool = False, **words: Any,
) -> Scores | Pairs | Predictions:  # fmt: skip
    """What texts are worth to a reward model, or the labels that a classifier gives them.

    The twin of `%peft_score`, with the same words as keywords. `texts` are strings, or rows:
    {prompt, completion}, {messages}, and with `pairwise` {prompt, chosen, rejected}; or `data` is
    given as to `finetune`. Prompts are written as in training; a bare string is read as it stands.

    Nothing stays attached or changed. Returns `Scores`, with `pairwise` `Pairs`, of a classifier
    `Predictions`; each shows itself as a table and has `.to_pandas()`. Raises AdapterError for a
    name that isn't there, RequestError for an adapter that has no head, DataError for rows that
    can't be read.
    """
    live = {} if data is None or isinstance(data, str) else {"data": data}
    given = {
        **words,
        "pairwise": pairwise,
        "data": data if isinstance(data, str) else None,
        "model": model if isinstance(model, str) else None,
        "tokenizer": tokenizer if isinstance(tokenizer, str) else None,
    }
    return execute_score(ScoreRequest.of([name], given), texts, model, tokenizer, **live)


def predict(
    name: str, texts: Sequence[str] | None = None, *, data: Any = None, model: Any = None,
    tokenizer: Any = None, columns: Mapping[str, str] | str | None = None,
) -> Predictions:  # fmt: skip
    """The labels that a classifier gives texts, and how likely each is.

    `name` is an adapter that was trained with the objective classify; all else is as `score` has
    it. Returns `Predictions`, with `.labels` and `.probabilities`. Raises RequestError for an
    adapter that tells no labels apart.
    """
    found = score(name, texts, data=data, model=model, tokenizer=tokenizer, columns=columns)
    if not isinstance(found, Predictions):
        raise RequestError(
            f"{found.name} gives scores and no labels: nbpeft.score({name!r}, texts) has them; "
            "labels come from --objective classify."
        )
    return found


def execute_score(
    asked: ScoreRequest,
    texts: Sequence[Any] | None,
    model: Any = None,
    tokenizer: Any = None,
    data: Any = None,
) -> Scores | Pairs | Predictions:
    """Do what was asked; every front door ends here."""
    from nbpeft.session import current

    given = _given(asked, texts, data)
    session, handle = current(), variables.handle_of(asked.model if model is None else model)
    record = session.record(handle, asked.name)
    tokenizer = variables.tokenizer_of(asked.tokenizer if tokenizer is None else tokenizer)
    rater = Rater(session, handle, record, tokenizer)
    trained = record.settings.get("trainer", {}).get("max_length")
    length = row_length(asked.max_length or trained, handle.root)
    if asked.pairwise and not rater.scores_texts:
        raise RequestError(
            f"{record.label} gives labels and no scores; leave --pairwise out, or name an adapter "
            "of --objective reward."
        )
    writing = Writing(tokenizer, rater.rendering, length, classes=not rater.scores_texts)
    source = data_.read(given, variables.namespace())
    items = writing.items(source, asked.columns, asked.count, pairs=asked.pairwise)
    return _result(record.label, rater, items, pairs=asked.pairwise)


def _given(asked: ScoreRequest, texts: Sequence[Any] | None, data: Any) -> Any:
    """Texts, or the data that are named; RequestError for both or neither."""
    data = asked.data if data is None else data
    if (texts is None) == (data is None):
        what = "Texts are given and data as well" if texts else "There are no texts to score"
        raise RequestError(
            f"{what}: type %%peft_score {asked.name} and a text a line below, or "
            f"%peft_score {asked.name} --data X."
        )
    if texts is None:
        return data
    chats = texts and isinstance(texts[0], list)
    return [{"messages": chat} for chat in texts] if chats else list(texts)


def _result(
    label: str, rater: Rater, items: Sequence[Item], *, pairs: bool
) -> Scores | Pairs | Predictions:
    """The texts' scores, all read in one go."""
    flat = [ids for item in items for ids in item.ids]
    if not rater.scores_texts:
        shares = tuple(tuple(row) for row in rater.probabilities(flat))
        own = tuple(item.label for item in items if item.label is not None)
        expected = own or None
        return Predictions(label, _shown(items, 0), rater.names, shares, expected)
    scores = rater.rate(flat)
    if not pairs:
        return Scores(label, _shown(items, 0), tuple(scores))
    return Pairs(label, _shown(items, 0), _shown(items, 1), tuple(scores[::2]), tuple(scores[1::2]))


def _shown(items: Sequence[Item], side: int) -> tuple[str, ...]:
    return tuple(item.shown[side] for item in items)
