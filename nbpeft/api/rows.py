"""Rows: to look at, and to write for others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft import variables
from nbpeft.api._given import sorted_out
from nbpeft.errors import RequestError
from nbpeft.request import LossOn
from nbpeft.variables import reader_of, tokenizer_if_known, tokenizer_of

if TYPE_CHECKING:
    from nbpeft.data.hosting import Exported, ExportRequest
    from nbpeft.data.looking.look import Look


def look(
    data: Any,
    *,
    columns: Mapping[str, str] | str | None = None,
    eval: Any = None,
    max_length: int | None = None,
    loss_on: str = "answers",
    objective: str = "sft",
    rows: Sequence[int] | None = None,
    model: Any = None,
    tokenizer: Any = None,
) -> Look:
    """What a run would train on, before any run; the twin of `%peft_data`.

    `data` is given as to `finetune`; `columns`, `max_length`, `loss_on` and `objective` are its
    words: an objective reads rows in its own way, as preferences, say. `eval` is
    data to hold out, whose rows are looked for among those to train on. `rows` are the numbers of
    rows to show token by token; by default the first, one of median length and the longest. Rows
    are written for `model`, or for the kernel's only one, and without `max_length` it is that of a
    run on it.

    Every row is checked, at most 2,000 are tokenized. Returns a `Look`, which shows itself as
    figures, a histogram and rows, and has `.lengths`, `.tokens`, `.trained_tokens` and `.refusal`.
    Raises DataError for rows that can't be read, RequestError for a word that can't be.
    """
    from nbpeft.architectures import architecture_of
    from nbpeft.coerce import coerce
    from nbpeft.data import read_mix
    from nbpeft.data.looking.look import look as look_
    from nbpeft.data.signals import signal_of
    from nbpeft.defaults import row_length
    from nbpeft.objectives import objectives

    tokenizer = tokenizer_of(tokenizer)
    if isinstance(eval, int | float):
        raise RequestError(
            f"eval can't be {eval}: a look is at all rows; give held-out data: eval=test."
        )
    reader = reader_of(model)
    return look_(
        read_mix(data, variables.namespace()),
        tokenizer,
        signal=signal_of(
            objectives.get(objective).signal,
            loss_on=coerce("loss_on", loss_on, LossOn),
            apart=reader is not None and architecture_of(reader) == "encoder-decoder",
        ),
        columns=coerce("columns", columns, dict[str, str] | None),
        eval=None if eval is None else read_mix(eval, variables.namespace()),
        max_length=row_length(max_length, reader),
        rows=coerce("rows", rows, list[int] | None),
    )


def export(
    data: Any, path: str | os.PathLike[str], to: str = "openai", *,
    columns: Mapping[str, str] | str | None = None, tokenizer: Any = None,
) -> Exported:  # fmt: skip
    """Write data as a hosted service tunes on it; the twin of `%peft_data X --to S PATH`.

    `data` is given as to `finetune`: chats, or preferences (prompt, chosen, rejected). `path` is a
    JSONL file that isn't there yet. `to` is 'openai' (the lines of which Azure OpenAI, Together and
    Fireworks take, too) or 'vertex' (Gemini on Vertex AI); schemas are those documented on the day
    that the result names. `tokenizer`, or the kernel's only one, counts the tokens of long rows.

    Every row is checked, the file is read back. Returns an `Exported`, which shows itself as a
    table. Raises RowsError, with all of them in `.problems`, where the service wouldn't take some
    rows; then nothing is written. RequestError for a file that isn't free.
    """
    from nbpeft.data.hosting import ExportRequest

    named, live = sorted_out(data=data, tokenizer=tokenizer)
    words = {"to": to, "columns": columns, "tokenizer": named.get("tokenizer")}
    asked = ExportRequest.of([named.get("data"), os.fspath(path)], words)
    return execute_export(asked, **live)


def execute_export(asked: ExportRequest, data: Any = None, tokenizer: Any = None) -> Exported:
    """Do what was asked."""
    from nbpeft.data import read
    from nbpeft.data.hosting import export as export_

    return export_(
        read(asked.data if data is None else data, variables.namespace()),
        asked.path,
        asked.to,
        columns=asked.columns,
        tokenizer=tokenizer_if_known(asked.tokenizer if tokenizer is None else tokenizer),
    )
