"""What the plan says about the data, in plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbpeft.data.reading.shapes import Reading
from nbpeft.data.splitting.split import FEWEST
from nbpeft.data.tokens.counts import Counts
from nbpeft.data.tokens.rendering import Rendering, frame
from nbpeft.errors import listed
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRAINED: dict[LossOn, str] = {
    "all": "all of it is trained (--loss-on all)",
    "answers": "only the answers are trained",
    "last": "only the last answer of each row is trained (--loss-on last)",
}


def notes_of(
    rendering: Rendering,
    reading: Reading,
    tokenizer: PreTrainedTokenizerBase,
    *,
    train: Counts,
    held_out: Counts | None,
    max_length: int,
    loss_on: LossOn,
) -> list[str]:
    """How rows were written, masked, cut, dropped and held out, and what pads them.

    Args:
        held_out: None where nothing is split.
    """
    notes = [_written(rendering, reading, tokenizer, loss_on), _padded(tokenizer)]
    notes += _masked(train, tokenizer)
    cut, dropped = train.cut, train.dropped
    if held_out is not None:
        cut, dropped = cut + held_out.cut, dropped + held_out.dropped
    if cut and rendering.apart:
        notes.append(
            f"{in_rows(cut)} cut: prompt and answer have {max_length} tokens each (--max-length)"
        )
    elif cut:
        notes.append(f"{in_rows(cut)} cut to {max_length} tokens (--max-length)")
    if dropped:
        numbers = listed(map(str, sorted(dropped)), limit=5)
        notes.append(
            f"{in_rows(len(dropped))} dropped, since no token of the answer is within {max_length} "
            f"tokens (--max-length): {numbers}"
        )
    if rendering.kind == "text" and not train.ended:
        notes.append("in no row the end token is trained: the model isn't taught to stop")
    notes += none_held_out(train, held_out, "held-out loss")
    return [note for note in notes if note]


def none_held_out(train: Counts, held_out: Counts | None, what: str) -> list[str]:
    """That there is no held-out loss, or `what` else is measured on held-out rows."""
    if held_out is None or held_out.rows:
        return []
    few = f"; fewer than {FEWEST} rows hold out none" if train.rows < FEWEST else ""
    return [f"no rows are held out, so there is no {what}{few} (--eval)"]


def in_rows(count: int) -> str:
    """As in '1 row cut', '20 rows cut'."""
    return "1 row" if count == 1 else f"{count:,} rows"


def _written(
    rendering: Rendering, reading: Reading, tokenizer: PreTrainedTokenizerBase, loss_on: LossOn
) -> str:
    end = f"the end token {tokenizer.eos_token}" if tokenizer.eos_token else "no end token"
    if rendering.kind == "text":
        return f"raw text, {end} after each row; all of it is trained"
    if rendering.apart:
        return _written_apart(rendering, tokenizer, end)
    trained = TRAINED[loss_on]
    if rendering.kind == "join":
        return (
            "the tokenizer has no chat template: prompt and completion are joined exactly as they "
            f"stand, {end} after each completion; {trained}"
        )
    if rendering.kind == "plain":
        return (
            "the tokenizer has no chat template: chats are written in nbpeft's plain one, a line "
            f"'User: …' or 'Assistant: …' a message, {end} after each answer; {trained}"
        )
    turns = "" if reading.format.name == "messages" else ", a prompt and its completion as turns"
    return f"written in the tokenizer's chat template{turns}; {trained}"


def _written_apart(rendering: Rendering, tokenizer: PreTrainedTokenizerBase, end: str) -> str:
    written = "as it stands" if rendering.kind == "join" else "in the tokenizer's chat template"
    framed = frame(tokenizer)[1]
    closing = f", then {tokenizer.decode(framed)}" if framed else ""
    return (
        f"the encoder reads the prompt ({written}{closing}), the decoder learns to write the "
        f"completion, {end} after it; only the answers are trained"
    )


def _padded(tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.pad_token_id is None:
        what = "the tokenizer has no pad token"
    elif tokenizer.pad_token_id == tokenizer.eos_token_id:
        what = f"the tokenizer's pad token is its end token ({tokenizer.eos_token})"
    else:
        return ""
    return f"{what}: padding is masked by position, so the end token is still trained"


def _masked(counts: Counts, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    notes = [
        f"the answers of {in_rows(rows)} are told by {way}"
        for rows, way in (
            (counts.by_own_marks, "the chat template's own {% generation %} marks"),
            (counts.by_trl_marks, "TRL's training variant of the chat template, the same text"),
            (counts.by_prefixes, "writing each chat with and without them (prefixes)"),
        )
        if rows
    ]
    if counts.last_answer_only:
        notes.append(
            f"{in_rows(counts.last_answer_only)} trained on the last answer only: the chat "
            "template writes earlier turns anew once a later one is there"
        )
    if counts.other_opening:
        notes.append(
            "the chat template opens an answer with something that it then doesn't write: "
            f"{in_rows(counts.other_opening)} trained without it"
        )
    if counts.end_added and tokenizer.eos_token:
        notes.append(
            f"the chat template ends an answer with no end token: {tokenizer.eos_token} is added "
            f"after the last answer of {in_rows(counts.end_added)}"
        )
    if counts.split_apart:
        notes.append(
            f"{in_rows(counts.split_apart)} tokenized as prompt and completion apart, since a "
            "token would span both"
        )
    return notes
