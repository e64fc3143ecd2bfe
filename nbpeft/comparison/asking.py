"""From names and prompts to a comparison: which columns there are, and which go together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import Architecture, architecture_of
from nbpeft.comparison.answers import BATCH, ROWS, Answers, Sampling, answer
from nbpeft.comparison.figures import Figures, held_out_loss, same_rows
from nbpeft.comparison.request import Prompt
from nbpeft.comparison.result import Comparison
from nbpeft.data import Rendering, default_rendering
from nbpeft.errors import ModelError, RequestError
from nbpeft.guard import random_state, restore_random_state
from nbpeft.quiet import quiet
from nbpeft.session.models import Handle
from nbpeft.session.record import Record
from nbpeft.session.session import BASE_WORDS, Session

if TYPE_CHECKING:
    from nbpeft.mounts import Mount


@dataclass(frozen=True, eq=False)
class Column:
    """One that answers: an adapter, or the base (no record)."""

    name: str
    record: Record | None
    state: str
    """The precision of the base that it stands on."""
    rendering: Rendering
    """How it is asked."""


def compare(
    session: Session,
    handle: Handle,
    tokenizer: Any,
    names: Sequence[str],
    prompts: Sequence[Prompt],
    *,
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
        expected: an answer to each prompt, to stand beside.
        max_new_tokens: of each answer.
        seed: sample by the model's own generation_config, each column under this seed; None takes
            the likeliest token.

    Raises:
        AdapterError: a name that isn't there.
        RequestError: no name or no prompt.
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
    columns = _columns(session, handle, tokenizer, list(dict.fromkeys(names)), architecture)
    how = Sampling(max_new_tokens, seed)
    random = random_state()
    answers: dict[Column, Answers] = {}
    try:
        with quiet():
            for state in session.by_precision(handle, [column.name for column in columns]):
                own = [column for column in columns if column.state == state]
                with handle.bare(state):
                    joining = _joining(session, handle, own, how)
                    for part in _parts(own, joining, len(prompts)):
                        ids = [part[0].rendering.prompt_ids(tokenizer, p) for p in prompts]
                        ask = functools.partial(answer, tokenizer=tokenizer, prompts=ids, how=how)
                        answers.update(_answered(session, handle, part, ask))
    finally:
        restore_random_state(random)
    records = [column.record for column in columns if column.record is not None]
    return Comparison(
        columns=tuple(column.name for column in columns),
        prompts=tuple(p if isinstance(p, str) else _chat_text(p) for p in prompts),
        answers=tuple(zip(*(answers[column].texts for column in columns), strict=True)),
        expected=None if expected is None else tuple(expected),
        figures={c.name: _figures(c, answers[c], records) for c in columns},
        notes=_notes(records, seed),
    )


def _columns(
    session: Session,
    handle: Handle,
    tokenizer: Any,
    names: Sequence[str],
    architecture: Architecture,
) -> list[Column]:
    """An unknown name is refused here, before anything is loaded or generated."""
    records = {name: None if name in BASE_WORDS else session.record(handle, name) for name in names}
    renderings = {
        name: Rendering.from_dict(record.data["rendering"])
        for name, record in records.items()
        if record is not None and "rendering" in record.data
    }
    plain = default_rendering(tokenizer, apart=architecture == "encoder-decoder")
    first = next(iter(renderings.values()), plain)
    return [
        Column(
            name,
            record,
            handle.precision.home if record is None else record.state,
            renderings.get(name, first),
        )
        for name, record in records.items()
    ]


def _parts(
    columns: Sequence[Column], joining: Sequence[Column], prompts: int
) -> list[list[Column]]:
    """The columns of each generate: those that may share one and are asked alike, the others alone.

    All stand on the base in one precision.
    """
    most = max(1, ROWS // min(BATCH, prompts))
    parts = []
    for rendering in dict.fromkeys(column.rendering for column in joining):
        alike = [column for column in joining if column.rendering == rendering]
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
        with session.answering_as(handle.root, column.name) as model:
            (answers[column],) = ask(model)
    return answers


def _figures(column: Column, answers: Answers, records: Sequence[Record]) -> Figures:
    return Figures(
        held_out_loss=held_out_loss(column.record, records),
        new_tokens=answers.new_tokens,
        seconds=answers.seconds,
        together=answers.together,
        state=column.state,
    )


def _notes(records: Sequence[Record], seed: int | None) -> tuple[str, ...]:
    notes = []
    if seed is not None:
        notes.append(f"sampled by the model's own generation_config, each column under seed {seed}")
    if len([r for r in records if "held_out_loss" in r.metrics]) > 1 and not same_rows(records):
        notes.append("the held-out losses are of different rows: each of its own run's")
    return tuple(notes)


def _chat_text(messages: list[dict[str, Any]]) -> str:
    """A chat as it is shown; a user's lone message is a prompt like any other."""
    if [message["role"] for message in messages] == ["user"]:
        return str(messages[0]["content"])
    return "\n".join(f"{m['role']}: {m['content']}" for m in messages)
