"""Rows made ready, a function for each kind of signal.

Each takes rows as found and a tokenizer, and says what columns a trainer gets. Rows of one prompt
are held out together or not at all, as copies of a row are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nbpeft.data.finding.mix import Mix
from nbpeft.data.finding.sources import Source
from nbpeft.data.prepare import Rows, prepare
from nbpeft.data.reading.formats import SFT
from nbpeft.data.signals import Answers, Labels, Preferences, Prompts, Ratings, Texts
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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


def texts(
    source: Source | Mix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    columns: Mapping[str, str] | None = None,
    eval: float | int | Source | Mix | None = None,
    max_length: int,
) -> Rows:
    """Raw text in blocks: input_ids, and labels of all but the first token of a block.

    Texts are joined, the tokenizer's end token after each; those that are held out are apart.

    Args:
        columns, eval: as `tokenize`; `eval` counts texts.
        max_length: tokens of a block; the last one may be shorter.

    Raises:
        DataError: as `tokenize`.
    """
    return prepare(Texts(), source, tokenizer, columns=columns, eval=eval, max_length=max_length)


def preferences(
    source: Source | Mix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    columns: Mapping[str, str] | None = None,
    eval: float | int | Source | Mix | None = None,
    max_length: int,
) -> Rows:
    """Pairs of answers: input_ids and labels of the prompt with the chosen one, and the others'.

    rejected_input_ids and rejected_labels are of the prompt with the rejected answer; `shared` is
    how many tokens both begin with that have no label. Labels are those of the answers, each with
    its end token. Thumbs and marks are made into pairs (`as_preferences`).

    Args:
        columns, eval: as `tokenize`.
        max_length: tokens of a prompt with either answer; longer answers keep their start.

    Raises:
        DataError: as `tokenize`; or the answers of a row are the same, a prompt leaves no room for
            them, or no pair can be made.
    """
    return prepare(
        Preferences(), source, tokenizer, columns=columns, eval=eval, max_length=max_length
    )


def ratings(
    source: Source | Mix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    columns: Mapping[str, str] | None = None,
    eval: float | int | Source | Mix | None = None,
    max_length: int,
) -> Rows:
    """Answers with thumbs: input_ids, labels of the answer, and `good`.

    Pairs and marks are made into thumbs (`as_ratings`).

    Args:
        columns, eval, max_length: as `preferences`.

    Raises:
        DataError: as `preferences`; or all thumbs point one way.
    """
    return prepare(Ratings(), source, tokenizer, columns=columns, eval=eval, max_length=max_length)


def labelled(
    source: Source | Mix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    columns: Mapping[str, str] | None = None,
    eval: float | int | Source | Mix | None = None,
    max_length: int,
) -> Rows:
    """Texts with their class: input_ids, framed as the tokenizer does, and `label`, a number.

    `Rows.label_names` has the names by number: in the order of a `datasets.ClassLabel`, else of
    the numbers or the alphabet.

    Args:
        columns, eval: as `tokenize`.
        max_length: tokens of a text; longer ones keep their start, and the tokenizer's frame.

    Raises:
        DataError: as `tokenize`; or there is one label only, or one that is only held out.
    """
    return prepare(Labels(), source, tokenizer, columns=columns, eval=eval, max_length=max_length)


def asked(
    source: Source | Mix,
    tokenizer: PreTrainedTokenizerBase,
    *,
    columns: Mapping[str, str] | None = None,
    eval: float | int | Source | Mix | None = None,
    max_length: int,
    max_new_tokens: int,
) -> Rows:
    """Prompts to answer: input_ids as `Rendering.prompt_ids` has them, `prompt`, all else beside.

    `prompt` is a string; or messages of role and content, for all rows where any row has them. The
    row's other columns keep their names and types.

    Args:
        columns, eval: as `tokenize`.
        max_length: tokens of a prompt and its answer together.
        max_new_tokens: of these, how many the answer may have.

    Raises:
        DataError: as `tokenize`; or a prompt leaves no room for the answer.
    """
    return prepare(
        Prompts(max_new_tokens=max_new_tokens),
        source,
        tokenizer,
        columns=columns,
        eval=eval,
        max_length=max_length,
    )
