"""From rows as found to rows ready for training."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.data.answers import Counts
from nbpeft.data.arrow import SMALL, temporary_folder, tie
from nbpeft.data.checks import check_rows
from nbpeft.data.detect import choose
from nbpeft.data.formats import SFT, Chat, Example, Reading
from nbpeft.data.gate import refused
from nbpeft.data.masks import Encoder
from nbpeft.data.notes import notes_of
from nbpeft.data.prompts import prompt_and_answer
from nbpeft.data.rendering import Rendering, rendering_of, undisturbed
from nbpeft.data.sources import Source
from nbpeft.data.split import MOST, held_out_count, some_of, split_rows
from nbpeft.errors import DataError, quoted
from nbpeft.quiet import quiet
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

SAMPLES = 3


@dataclass(frozen=True)
class Rows:
    """Rows ready for training."""

    train: Dataset
    """Columns input_ids and labels: lists of int of one length, -100 where nothing is trained."""
    held_out: Dataset | None
    """The same columns."""
    rendering: Rendering
    tokens: int
    """Of `train`, one epoch."""
    trained_tokens: int
    """Of `train`, one epoch: those with a label."""
    notes: tuple[str, ...]
    """Plain lines for the plan."""
    fingerprint: str
    """Of the raw training rows and the rendering: the same on any machine."""
    sample_prompts: tuple[str | list[dict[str, Any]], ...]
    """Up to three prompts of held-out rows (else of training rows), as text or messages."""


@dataclass(frozen=True)
class _Part:
    """Some rows of a data set, with the numbers that the user knows them by."""

    dataset: Dataset
    reading: Reading
    numbers: Sequence[int]
    label: str

    def examples(self, count: int) -> list[Example]:
        """The first `count` rows, read."""
        return [self.reading.example(row) for row in self.dataset.select(range(count))]


def tokenize(
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    *,
    formats: tuple[str, ...] = SFT,
    columns: Mapping[str, str] | None = None,
    eval: float | int | Source | None = None,
    max_length: int,
    loss_on: LossOn = "answers",
) -> Rows:
    """Read, check, split and tokenize rows, marking the tokens to train.

    The tokenizer is left as it was. Rows beyond about 50 MB are kept in a temporary file for as
    long as the data set that maps it.

    Args:
        formats: names in `formats.FORMATS` that the objective can train on.
        columns: a format's column name to the user's, such as {"prompt": "question"}.
        eval: rows to hold out: a share in (0, 1), a count, 0 for none, or rows of their own.
            None: the source's own held-out split, else 10%, at most 200 rows.
        max_length: tokens of a row; longer ones keep their start.
        loss_on: which tokens are trained; raw text is trained whole.

    Raises:
        DataError: no format fits or several do, a row can't be trained on, nothing is left, or
            no answer's end token is trained.
    """
    if not len(source.dataset):
        raise DataError(f"{quoted(source.label)} has no rows.")
    found = source.dataset.column_names
    reading = choose(source.dataset, formats, columns, source.label)
    check_rows(source.dataset, reading, source.label)
    train, held_out = _split(source, reading, columns, eval)
    rendering = rendering_of(train.examples(1)[0], tokenizer)
    digest = hashlib.sha256(json.dumps(rendering.to_dict()).encode())
    if rendering.kind == "chat":
        digest.update(str(tokenizer.chat_template).encode())
    with undisturbed(tokenizer), quiet():
        encoder = Encoder(tokenizer, rendering, max_length, train.label, loss_on)
        train_rows, counts = _encoded(train, encoder, digest), encoder.counts
        refusal = refused(rendering, counts, encoder.ends, train.label, max_length)
        if refusal:
            raise DataError(refusal)
        held_rows, held_counts = None, Counts()
        if held_out is not None:
            encoder = Encoder(tokenizer, rendering, max_length, held_out.label, loss_on)
            held_rows, held_counts = _encoded(held_out, encoder, None), encoder.counts
    return Rows(
        train=train_rows,
        held_out=held_rows if held_counts.rows else None,
        rendering=rendering,
        tokens=counts.tokens,
        trained_tokens=counts.trained_tokens,
        notes=(
            *source.notes,
            reading.note(found),
            *notes_of(
                rendering,
                reading,
                tokenizer,
                train=counts,
                held_out=held_counts,
                max_length=max_length,
                loss_on=loss_on,
            ),
        ),
        fingerprint=digest.hexdigest()[:16],
        sample_prompts=_sample_prompts(held_out or train),
    )


def _split(
    source: Source,
    reading: Reading,
    columns: Mapping[str, str] | None,
    eval: float | int | Source | None,
) -> tuple[_Part, _Part | None]:
    """The rows to train on and those held out, if any."""
    own = eval if isinstance(eval, Source) else None
    if eval is None and source.held_out is not None and len(source.held_out):
        own = Source(source.held_out, None, f"{source.label} (its held-out split)")
    rows = len(source.dataset)
    if own is not None:
        own_reading = choose(own.dataset, (reading.format.name,), columns, own.label)
        check_rows(own.dataset, own_reading, own.label)
        size = len(own.dataset)
        most = size if isinstance(eval, Source) else min(size, MOST)
        held_out = _part(own, own_reading, some_of(size, most))
        return _part(source, reading, range(rows)), held_out
    assert not isinstance(eval, Source)
    kept, out = split_rows(rows, held_out_count(rows, eval, source.label))
    return _part(source, reading, kept), _part(source, reading, out) if out else None


def _part(source: Source, reading: Reading, numbers: Sequence[int]) -> _Part:
    """Rows of a source by number, with the columns that the reading uses."""
    used = list(dict.fromkeys(reading.columns.values()))
    # fingerprints are given because datasets would otherwise hash the rows for one, slowly
    dataset = source.dataset.with_format(None).select_columns(used, new_fingerprint=_new())
    dataset = dataset.select(numbers, new_fingerprint=_new())
    return _Part(dataset, reading, numbers, source.label)


def _new() -> str:
    return secrets.token_hex(8)


def _encoded(part: _Part, encoder: Encoder, digest: Any) -> Dataset:
    """The rows as ids and labels; `digest` is fed with the raw rows."""
    from datasets import Features, List, Value

    names = list(dict.fromkeys(part.reading.columns.values()))

    def batch(cells: Mapping[str, list[Any]], places: list[int]) -> dict[str, list[list[int]]]:
        rows = zip(*(cells[name] for name in names), strict=True)
        examples = [part.reading.example(dict(zip(names, row, strict=True))) for row in rows]
        if digest is not None:
            for example in examples:
                digest.update(_canonical(example))
        return encoder.batch(examples, [part.numbers[place] for place in places])

    small = part.dataset.data.nbytes * len(part.dataset) <= SMALL * part.dataset.data.num_rows
    folder = None if small else temporary_folder()
    try:
        encoded = part.dataset.map(
            batch,
            with_indices=True,
            batched=True,
            batch_size=1000,
            remove_columns=names,
            features=Features({"input_ids": List(Value("int32")), "labels": List(Value("int32"))}),
            keep_in_memory=small,
            cache_file_name=None if folder is None else str(folder / "rows.arrow"),
            load_from_cache_file=False,
            new_fingerprint=_new(),
        )
    except BaseException:  # Stop, too, leaves no file behind
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if folder is not None:
        tie(folder, encoded)
    return encoded


def _canonical(example: Example) -> bytes:
    """An example as bytes that are the same however its rows were stored."""
    values = (
        asdict(example)
        if not isinstance(example, Chat)
        else [
            {key: value for key, value in message.items() if value is not None}
            for message in example.messages
        ]
    )
    return json.dumps(values, sort_keys=True, default=str).encode() + b"\n"


def _sample_prompts(part: _Part) -> tuple[str | list[dict[str, Any]], ...]:
    examples = part.examples(min(SAMPLES, len(part.dataset)))
    return tuple(prompt_and_answer(example)[0] for example in examples)
