"""From rows as found to rows ready for training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

from nbpeft.data.finding.mix import Mix
from nbpeft.data.finding.sources import Source
from nbpeft.data.prompts import prompt_and_answer
from nbpeft.data.reading.examples import Labelled, texts_of
from nbpeft.data.reading.formats import SFT
from nbpeft.data.signals.answers import Answers
from nbpeft.data.signals.base import Signal
from nbpeft.data.splitting.findings import notes_on_copies, notes_on_reading
from nbpeft.data.splitting.parts import Part, Parts, split
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.encode import encode_parts
from nbpeft.data.tokens.rendering import Rendering, undisturbed
from nbpeft.errors import DataError
from nbpeft.quiet import quiet
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

SAMPLES = 3
FINGERPRINT = 16
"""Hexadecimal digits of a fingerprint."""


@dataclass(frozen=True)
class Rows:
    """Rows ready for training."""

    train: Dataset
    """Columns input_ids and labels: lists of int of one length, -100 where nothing is trained.

    Beside them, or in place of labels, what the entries of `nbpeft.data.signals` say. For an
    encoder-decoder the prompt's tokens and the answer's, of different lengths.
    """
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
    label_names: tuple[str, ...] = ()
    """Of rows with classes: their names, by number."""
    parts: Parts | None = None
    """The rows as they were found, with their numbers; None where they were made here."""


def prepare(
    signal: Signal,
    source: Source | Mix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    columns: Mapping[str, str] | None = None,
    eval: float | int | Source | Mix | None = None,
    max_length: int,
) -> Rows:
    """Read, check, split and tokenize rows of a signal, which says what columns they get.

    The tokenizer is left as it was. Rows beyond about 50 MB are kept in a temporary file for as
    long as the data set that maps it.

    Args:
        columns, eval, max_length: as `nbpeft.data.tokenize` takes them.

    Raises:
        DataError: no format fits or several do, a row can't be trained on, nothing is left, or
            what the signal refuses.
    """
    parts = split(source, signal.formats, columns, eval, signal.converted)
    signal.check(parts)
    rendering = signal.rendering(parts, tokenizer)
    digest = digest_of(rendering, tokenizer)
    with undisturbed(tokenizer), quiet():
        encoder_of = signal.encoders(parts, tokenizer, rendering, max_length)
        train = encode_parts(parts.train, encoder_of, digest)
        refusal = signal.no_room(train.counts, parts.train, max_length) or signal.refusal(
            rendering, train.counts, train.ends, source.label, max_length
        )
        if refusal:
            raise DataError(refusal)
        held_out = encode_parts(parts.held_out, encoder_of, None) if parts.held_out else None
    held_counts = held_out.counts if held_out else Counts()
    refusal = signal.no_room(held_counts, parts.held_out, max_length)
    if refusal:
        raise DataError(refusal)
    return Rows(
        train=train.dataset,
        held_out=held_out.dataset if held_out and held_counts.rows else None,
        rendering=rendering,
        tokens=train.counts.tokens,
        trained_tokens=train.counts.trained_tokens,
        notes=(
            *source.notes,
            *notes_on_reading(parts.train),
            *notes_on_copies(parts),
            *signal.notes(
                rendering,
                parts,
                tokenizer,
                train=train.counts,
                held_out=held_counts,
                max_length=max_length,
            ),
        ),
        fingerprint=digest.hexdigest()[:FINGERPRINT],
        sample_prompts=_sample_prompts(parts.held_out or parts.train),
        label_names=signal.label_names(parts),
        parts=parts,
    )


def digest_of(rendering: Rendering, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The hash that a fingerprint begins with: how rows are written; the rows are to follow."""
    digest = hashlib.sha256(json.dumps(rendering.to_dict()).encode())
    if rendering.kind == "chat":
        digest.update(str(tokenizer.chat_template).encode())
    return digest


def tokenize(
    source: Source | Mix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    formats: tuple[str, ...] = SFT,
    columns: Mapping[str, str] | None = None,
    eval: float | int | Source | Mix | None = None,
    max_length: int,
    loss_on: LossOn = "answers",
    apart: bool = False,
) -> Rows:
    """Answers to imitate, or raw text: input_ids, and labels of the tokens to train.

    The tokenizer is left as it was. Rows beyond about 50 MB are kept in a temporary file for as
    long as the data set that maps it.

    Args:
        formats: names in `formats.FORMATS` that the objective can train on.
        columns: a format's column name to the user's, such as {"prompt": "question"}; in a mix,
            for the sources that have such columns.
        eval: rows to hold out: a share in (0, 1), a count, 0 for none, or rows of their own.
            None: the source's own held-out split, else 10%, at most 200 rows. Of a mix, each
            source gives its part; copies of a row are held out together or not at all.
        max_length: tokens of a row; longer ones keep their start.
        loss_on: which tokens are trained; raw text is trained whole.
        apart: whether rows are for an encoder-decoder: the prompt as input_ids, the answer as
            labels, each of at most `max_length` tokens.

    Raises:
        DataError: no format fits or several do, a row can't be trained on, nothing is left, or
            no answer's end token is trained.
    """
    return prepare(
        Answers(formats=formats, loss_on=loss_on, apart=apart),
        source,
        tokenizer,
        columns=columns,
        eval=eval,
        max_length=max_length,
    )


def _sample_prompts(parts: Sequence[Part]) -> tuple[str | list[dict[str, Any]], ...]:
    """Prompts of the first rows, of each part in turn."""
    examples = [part.examples(min(SAMPLES, len(part))) for part in parts]
    in_turn = [example for row in zip_longest(*examples) for example in row if example is not None]
    asked = (
        prompt_and_answer(texts_of(example)[0])[0]
        for example in in_turn
        if not isinstance(example, Labelled)
    )
    return tuple(prompt for prompt in islice(asked, SAMPLES) if prompt)
