"""From names and prompts to a comparison: which columns there are, and which go together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import architecture_of
from nbpeft.comparison.answers import BATCH, ROWS, Answers, Sampling, answer
from nbpeft.comparison.columns import Column, check_window, columns_of
from nbpeft.comparison.figures import Figures, held_out_loss, hits, same_rows
from nbpeft.comparison.request import Prompt
from nbpeft.comparison.result import Comparison
from nbpeft.data.prompting import PLAIN, Way, answer_in
from nbpeft.errors import ModelError, RequestError
from nbpeft.guard import random_state, restore_random_state
from nbpeft.quiet import quiet
from nbpeft.session.models import Handle
from nbpeft.session.record import Record
from nbpeft.session.session import Session

if TYPE_CHECKING:
    from nbpeft.mounts import Mount


def compare(
    session: Session,
    handle: Handle,
    tokenizer: Any,
    names: Sequence[str],
    prompts: Sequence[Prompt],
    *,
    ways: Sequence[Way] = (),
    expected: Sequence[str] | None = None,
    max_new_tokens: int = 64,
    seed: int | None = None,
) -> Comparison:
    """Answer every prompt as every adapter, in eval mode.

    Each adapter is asked as it was trained (its template); the base as the first of them. The base
    and plain LoRA adapters answer in one batch, others one after another, with the same texts. What
    was attached, modes and random states are as before, whatever happens.

    Args:
        names: adapters (NAME, NAME@VERSION, 'base').
        prompts: texts or chats (lists of {role, content}).
        ways: how the base is asked in a column more each, beside the base as it is.
        expected: an answer to each prompt, to stand beside.
        max_new_tokens: of each answer.
        seed: sample by the model's own generation_config, each column under this seed; None takes
            the likeliest token.

    Raises:
        AdapterError: a name that isn't there.
        RequestError: no name or no prompt, or a prompt that with what is put around it is longer
            than the model's window.
    """
    if not names or not prompts:
        raise RequestError(
            "A comparison wants names and prompts: %%peft_compare base NAME, then a prompt a line."
        )
    architecture = architecture_of(handle.root)
    if architecture == "encoder":
        raise ModelError(
            f"{type(handle.root).__name__} writes no text, so there are no answers to compare; "
            "a model that writes is loaded with AutoModelForCausalLM.from_pretrained."
        )
    columns = columns_of(session, handle, tokenizer, list(dict.fromkeys(names)), ways)
    how = Sampling(max_new_tokens, seed)
    ids = {column: column.prompt_ids(tokenizer, prompts) for column in columns}
    for column in columns:
        check_window(handle, column, ids[column], how)
    random = random_state()
    answers: dict[Column, Answers] = {}
    try:
        with quiet():
            for state in session.by_precision(handle, [column.adapter for column in columns]):
                own = [column for column in columns if column.state == state]
                with handle.bare(state):
                    joining = _joining(session, handle, own, how)
                    for part in _parts(own, joining, len(prompts)):
                        ask = functools.partial(
                            answer, tokenizer=tokenizer, prompts=ids[part[0]], how=how
                        )
                        answers.update(_answered(session, handle, part, ask))
    finally:
        restore_random_state(random)
    records = [column.record for column in columns if column.record is not None]
    return Comparison(
        columns=tuple(column.name for column in columns),
        prompts=tuple(p if isinstance(p, str) else _chat_text(p) for p in prompts),
        answers=tuple(zip(*(answers[column].texts for column in columns), strict=True)),
        expected=None if expected is None else tuple(expected),
        figures={c.name: _figures(c, ids[c], answers[c], records, expected) for c in columns},
        reasoned=frozenset(column.name for column in columns if column.way.thinks),
        notes=_notes(records, columns, answers, how),
    )


def _parts(
    columns: Sequence[Column], joining: Sequence[Column], prompts: int
) -> list[list[Column]]:
    """The columns of each generate: those that may share one and are asked alike, the others alone.

    All stand on the base in one precision.
    """
    most = max(1, ROWS // min(BATCH, prompts))
    parts = []
    for asked in dict.fromkeys((column.rendering, column.way) for column in joining):
        alike = [column for column in joining if (column.rendering, column.way) == asked]
        parts += [alike[start : start + most] for start in range(0, len(alike), most)]
    return parts + [[column] for column in columns if column not in joining]


def _joining(
    session: Session, handle: Handle, columns: Sequence[Column], how: Sampling
) -> list[Column]:
    """The columns that may share a generate.

    Sampled ones don't: rows draw from one stream of random numbers in their order. Nor do those of
    an encoder-decoder: T5 reads the dtype of a layer's own weight.
    """
    from nbpeft.mounts.together import can_join

    if how.seed is not None or architecture_of(handle.root) == "encoder-decoder":
        return []
    return [column for column in columns if can_join(_mount(session, handle, column))]


def _mount(session: Session, handle: Handle, column: Column) -> Mount | None:
    return None if column.record is None else session.mount(handle, column.record)


def _answered(
    session: Session, handle: Handle, part: Sequence[Column], ask: Callable[..., list[Answers]]
) -> dict[Column, Answers]:
    """The answers of columns that are asked alike: in one batch, or else one after another."""
    import torch

    from nbpeft.mounts.together import NotTogetherError, together

    if len(part) > 1:
        try:
            mounts = [_mount(session, handle, column) for column in part]
            with handle.answering_as(None, part[0].state) as root, together(root, mounts):
                return dict(zip(part, ask(root, columns=len(part)), strict=True))
        except (NotTogetherError, torch.OutOfMemoryError):
            pass  # one column needs no more than the model alone
    answers = {}
    for column in part:
        with session.answering_as(handle.root, column.adapter) as model:
            (answers[column],) = ask(model)
    return answers


def _figures(
    column: Column,
    ids: list[list[int]],
    answers: Answers,
    records: Sequence[Record],
    expected: Sequence[str] | None,
) -> Figures:
    given = [answer_in(t)[1] for t in answers.texts] if column.way.thinks else answers.texts
    return Figures(
        # What runs measured is the loss of prompts as they are.
        held_out_loss=held_out_loss(column.record, records) if column.way is PLAIN else None,
        new_tokens=answers.new_tokens,
        seconds=answers.seconds,
        together=answers.together,
        state=column.state,
        prompt_tokens=sum(map(len, ids)) / len(ids),
        as_expected=None if expected is None else hits(given, expected),
    )


def _notes(
    records: Sequence[Record],
    columns: Sequence[Column],
    answers: Mapping[Column, Answers],
    how: Sampling,
) -> tuple[str, ...]:
    notes = []
    for column in columns:
        notes += [f"{column.name}: {note}" for note in column.way.notes]
        if column.way.thinks:
            notes += _unanswered(column, answers[column], how)
    if how.seed is not None:
        notes.append(
            f"sampled by the model's own generation_config, each column under seed {how.seed}"
        )
    if len([r for r in records if "held_out_loss" in r.metrics]) > 1 and not same_rows(records):
        notes.append("the held-out losses are of different rows: each of its own run's")
    return tuple(notes)


def _unanswered(column: Column, answers: Answers, how: Sampling) -> list[str]:
    """What to say where reasoning came to no answer, or was cut before it."""
    without = sum(not answer_in(text)[0] for text in answers.texts)
    if not without:
        return []
    return [
        f"{column.name}: {without} of {len(answers.texts)} texts hold no 'Answer:'; where they are "
        f"cut at {how.max_new_tokens} tokens, --max-new-tokens {4 * how.max_new_tokens} lets them "
        "come to it"
    ]


def _chat_text(messages: list[dict[str, Any]]) -> str:
    """A chat as it is shown; a user's lone message is a prompt like any other."""
    if [message["role"] for message in messages] == ["user"]:
        return str(messages[0]["content"])
    return "\n".join(f"{m['role']}: {m['content']}" for m in messages)
