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
from nbpeft.data.reading.examples import texts_of
from nbpeft.data.reading.feedback import PREFERENCES
from nbpeft.data.reading.formats import SFT
from nbpeft.data.splitting.findings import notes_on_copies, notes_on_reading
from nbpeft.data.splitting.parts import Part, Parts, first_example, split
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.encode import encode_parts
from nbpeft.data.tokens.gate import no_room, refused
from nbpeft.data.tokens.masks import Encoder
from nbpeft.data.tokens.notes import notes_of
from nbpeft.data.tokens.rendering import Rendering, rendering_of, undisturbed
from nbpeft.data.tokens.sides import check_sides
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

    Beside them what the signal has, as its function says. For an encoder-decoder the prompt's
    tokens and the answer's, of different lengths.
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
    """Read, check, split and tokenize rows, marking the tokens to train.

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
    parts = split(source, formats, columns, eval)
    if apart:
        check_sides([*parts.train, *parts.held_out], loss_on)
    return _ready(source, parts, tokenizer, max_length, loss_on, apart=apart)


def preferences(
    source: Source | Mix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    columns: Mapping[str, str] | None = None,
    eval: float | int | Source | Mix | None = None,
    max_length: int,
) -> Rows:
    """Read, check, split and tokenize pairs of answers, the better one and the worse.

    Args:
        columns, eval: as `tokenize`. Rows of one prompt are held out together or not at all.
        max_length: tokens of a prompt with either answer; longer answers keep their start.

    Returns:
        Rows whose data sets have input_ids and labels of the prompt with the chosen answer,
        rejected_input_ids and rejected_labels with the rejected one, and `shared`: how many tokens
        both begin with that have no label. Labels are those of the answers, each with its end.

    Raises:
        DataError: as `tokenize`; or the answers of a row are the same, or its prompt leaves no
            room for them.
    """
    parts = split(source, PREFERENCES, columns, eval)
    return _ready(source, parts, tokenizer, max_length, "answers", whole=True)


def _ready(
    source: Source | Mix,
    parts: Parts,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    loss_on: LossOn,
    *,
    apart: bool = False,
    whole: bool = False,
) -> Rows:
    """Rows that were read and split, tokenized.

    Args:
        whole: whether a row that has no token to train is refused rather than dropped.
    """
    first = first_example([*parts.train, *parts.held_out])
    rendering = rendering_of(first, tokenizer, apart=apart)
    digest = digest_of(rendering, tokenizer)

    def encoder_of(label: str) -> Encoder:
        return Encoder(tokenizer, rendering, max_length, label, loss_on)

    with undisturbed(tokenizer), quiet():
        train = encode_parts(parts.train, encoder_of, digest)
        refusal = refused(
            rendering,
            train.counts,
            train.ends,
            source.label,
            max_length=max_length,
            loss_on=loss_on,
            whole=whole,
        )
        if refusal:
            raise DataError(refusal)
        held_out = encode_parts(parts.held_out, encoder_of, None) if parts.held_out else None
    held_counts = held_out.counts if held_out else Counts()
    if whole and held_counts.dropped:
        raise DataError(no_room(held_counts, parts.held_out[0].label, max_length))
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
            *notes_of(
                rendering,
                parts.train[0].reading,
                tokenizer,
                train=train.counts,
                held_out=held_counts,
                max_length=max_length,
                loss_on=loss_on,
            ),
        ),
        fingerprint=digest.hexdigest()[:FINGERPRINT],
        sample_prompts=_sample_prompts(parts.held_out or parts.train),
    )


def digest_of(rendering: Rendering, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The hash that a fingerprint begins with: how rows are written; the rows are to follow."""
    digest = hashlib.sha256(json.dumps(rendering.to_dict()).encode())
    if rendering.kind == "chat":
        digest.update(str(tokenizer.chat_template).encode())
    return digest


def _sample_prompts(parts: Sequence[Part]) -> tuple[str | list[dict[str, Any]], ...]:
    """Prompts of the first rows, of each part in turn."""
    examples = [part.examples(min(SAMPLES, len(part))) for part in parts]
    in_turn = [example for row in zip_longest(*examples) for example in row if example is not None]
    asked = (prompt_and_answer(texts_of(example)[0])[0] for example in in_turn)
    return tuple(prompt for prompt in islice(asked, SAMPLES) if prompt)
