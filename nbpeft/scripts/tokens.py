"""How a script's rows become tokens and labels: the shortest way that comes to nbpeft's own.

Each way is tried on the rows themselves, in the very code that the script has, against what nbpeft
made of them. So a script says what is so, and where no way is the same there is none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from nbpeft.data.tokens.rendering import frame
from nbpeft.objectives._lengths import lengths_of
from nbpeft.scripts import asking_trl
from nbpeft.scripts.own import OwnError
from nbpeft.scripts.recipes import Recipe, blocks, by_prefixes, classed, joined, whole
from nbpeft.scripts.samples import Sample, Way, function_of, rows_of
from nbpeft.scripts.writing import folded, literal, names, quoted

if TYPE_CHECKING:
    from nbpeft.data.splitting.parts import Part
    from nbpeft.prepare import Prepared


def way_of_answers(ready: Prepared, part: Part) -> Way:
    """Rows of SFT: answers to imitate, or raw text."""
    sample = Sample(ready, part)
    columns = ("input_ids", "labels")
    with sample.as_in_script():
        for way in _by_trl(sample, _sft_words(sample), asking_trl.sft, columns):
            return way
        for recipe in _recipes(sample):
            way = _spelled(sample, recipe)
            made = rows_of(way, sample, ready.tokenizer)
            kept = [row for row in made if any(label != -100 for label in row["labels"])]
            if sample.same(kept, columns):
                return way if len(kept) == len(made) else _filtered(way)
    raise OwnError(
        "how these rows are written as tokens is nbpeft's own: TRL writes them otherwise"
    )


def way_of_blocks(ready: Prepared, part: Part) -> Way:
    """Rows of raw text that is joined and cut into blocks."""
    sample = Sample(ready, part)
    tokenizer = ready.tokenizer
    before, after = frame(tokenizer)
    text = sample.columns["text"].replace("row[", "rows[")
    if sample.columns["text"] != f"row[{quoted(part.reading.columns['text'])}]":
        raise OwnError("how these texts are read is nbpeft's own")
    recipe = blocks(text, before, _ends(tokenizer, after), sample.max_length)
    step = (
        "ROWS = ROWS.map(blocks, batched=True, batch_size=None, remove_columns=ROWS.column_names)"
    )
    way = Way(last=(step,), defined=recipe.code, words=SKIPPED)
    column = part.reading.columns["text"]
    cut = function_of(way, tokenizer, ())({column: [row[column] for row in sample.raw]})
    made = [{"input_ids": ids, "labels": told} for ids, told in zip(*cut.values(), strict=True)]
    if not sample.all:
        made, sample.made = made[:-1], sample.made[: len(made) - 1]
    if not sample.same(made, ("input_ids", "labels")):
        raise OwnError("how these texts are written as tokens is nbpeft's own")
    return way


def way_of_judged(
    ready: Prepared, part: Part, asked: asking_trl.Asked, columns: Sequence[str]
) -> Way:
    """Rows of preferences and ratings, tokenized by one of TRL's trainers."""
    sample = Sample(ready, part)
    with sample.as_in_script():
        for way in _by_trl(sample, ({},), asked, columns):
            return way
    raise OwnError(
        "how these answers are written as tokens is nbpeft's own: TRL's trainer writes them "
        "otherwise (an end token, or where the prompt ends)"
    )


def way_of_scored(ready: Prepared, part: Part) -> Way:
    """Rows of preferences whose answers are scored, whole texts by RewardTrainer."""
    rows = ready.rows.train
    others = rows.select_columns(["rejected_input_ids"]).rename_column(
        "rejected_input_ids", "input_ids"
    )
    if max(*lengths_of(rows), *lengths_of(others)) >= int(ready.settings.trainer["max_length"]):
        raise OwnError("TRL's RewardTrainer drops rows over max_length, which nbpeft cuts")
    return way_of_judged(ready, part, asking_trl.reward, ("input_ids", "rejected_input_ids"))


def way_of_classes(ready: Prepared, part: Part) -> Way:
    """Rows of texts and the number of each one's label."""
    sample = Sample(ready, part)
    labels = list(ready.rows.label_names)
    recipe = classed(sample.columns, labels, sample.max_length)
    way = _spelled(sample, recipe)
    with sample.as_in_script():
        made = rows_of(way, sample, ready.tokenizer)
    told = [row["labels"] for row in made] == [row["label"] for row in sample.made]
    if not told or not sample.same(made, ("input_ids",)):
        raise OwnError("how these texts are written as tokens is nbpeft's own")
    return Way(way.steps, way.defined, imports=way.imports)


SKIPPED: Mapping[str, Any] = {"dataset_kwargs": {"skip_prepare_dataset": True}}
"""Rows come tokenized."""


def _sft_words(sample: Sample) -> Sequence[Mapping[str, Any]]:
    """The words under which SFTTrainer may come to the same labels."""
    every = sample.ready.request.loss_on == "all"
    if "messages" in sample.columns:
        return ({},) if every else ({"assistant_only_loss": True},)
    if "completion" in sample.columns:
        return ({"completion_only_loss": False},) if every else ({},)
    return ({},)


def _by_trl(
    sample: Sample,
    each: Sequence[Mapping[str, Any]],
    asked: asking_trl.Asked,
    columns: Sequence[str],
) -> Iterator[Way]:
    """The ways that leave tokenizing to TRL, and come to the same."""
    for words, chats in product(each, (False, True)):
        way = _columns(sample, chats=chats)
        if way is None:
            continue
        made: Sequence[dict[str, Any]] = ()
        # Whatever TRL's preparation may raise over rows that it isn't made for.
        with contextlib.suppress(Exception):
            rows = rows_of(way, sample, None)
            made = asked(sample.tokenizer, rows, dict(words), sample.max_length)
        if sample.same(made, columns):
            yield Way(way.steps, way.defined, words, way.imports)


TURNS = {
    "prompt": "user",
    "completion": "assistant",
    "chosen": "assistant",
    "rejected": "assistant",
}


def _columns(sample: Sample, *, chats: bool) -> Way | None:
    """What brings rows to TRL's columns; with `chats`, strings to messages."""
    found = sample.part.found
    if not chats and sample.named:
        if set(found) == set(sample.columns):
            return Way()
        return Way((f"ROWS = ROWS.select_columns({literal(list(sample.columns), 0, 25)})",))
    columns = dict(sample.columns)
    if chats:
        if not any(name in TURNS for name in columns):
            return None
        columns = {
            name: f'[{{"role": "{TURNS[name]}", "content": {value}}}]' if name in TURNS else value
            for name, value in columns.items()
        }
    items = "".join(f'        "{name}": {value},\n' for name, value in columns.items())
    return Way(
        ("ROWS = ROWS.map(in_trl_columns, remove_columns=ROWS.column_names)",),
        f"def in_trl_columns(row):\n    return {{\n{folded(items)}    }}",
        imports=names(*sample.modules) if sample.modules else frozenset(),
    )


def _recipes(sample: Sample) -> Iterator[Recipe]:
    """Ways to tokenize in the script, the shortest first."""
    before, after = frame(sample.tokenizer)
    ends = _ends(sample.tokenizer, after)
    last = sample.ready.request.loss_on == "last"
    every = sample.ready.request.loss_on == "all"
    columns = sample.columns
    if "text" in columns:
        yield whole(columns["text"], before, ends, sample.max_length)
    elif "completion" in columns and sample.ready.rows.rendering.kind == "join":
        yield joined(columns, before, ends, sample.max_length, every=every)
    else:
        opening = [] if sample.ready.rows.rendering.kind == "chat" else before
        eos = sample.tokenizer.eos_token_id
        for said, cut, end in product(_said(columns), (False, True), (None, eos)):
            yield by_prefixes(
                *said, opening, end, sample.max_length, last=last, every=every, cut=cut
            )


def _said(columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(the messages of a row, where its answers begin) as expressions."""
    if "messages" in columns:
        yield columns["messages"], "1"
        return
    prompt, answer = columns["prompt"], columns["completion"]
    yield f"{prompt} + {answer}", f"len({prompt})"
    yield (
        f'[{{"role": "user", "content": {prompt}}}, {{"role": "assistant", "content": {answer}}}]',
        "1",
    )


def _spelled(sample: Sample, recipe: Recipe) -> Way:
    step = "ROWS = ROWS.map(tokenized, remove_columns=ROWS.column_names)"
    imports = names(*sample.modules) if sample.modules else frozenset()
    return Way((step,), recipe.code, SKIPPED, imports)


def _filtered(way: Way) -> Way:
    """Without the rows of which nothing is trained."""
    line = 'ROWS = ROWS.filter(lambda row: any(label != -100 for label in row["labels"]))'
    return Way(way.steps, way.defined, way.words, way.imports, (line,))


def _ends(tokenizer: Any, after: Sequence[int]) -> list[int]:
    """What stands at the end of a text."""
    eos = tokenizer.eos_token_id
    return [*after, *([] if eos is None or eos in after else [int(eos)])]
