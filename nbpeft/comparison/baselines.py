"""Prompting as the baseline: what the base is given instead of training, a column each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbpeft import data as data_
from nbpeft.comparison.request import CompareRequest, Prompt
from nbpeft.data.context import LABEL, context_of
from nbpeft.data.examples import Shot, examples_of, examples_trained_on, training_parts
from nbpeft.data.prompting import Way, questions_in
from nbpeft.data.reading.shapes import shown as shown_name
from nbpeft.data.signals import signal_of
from nbpeft.errors import DataError, RequestError, listed, quoted
from nbpeft.objectives import objectives
from nbpeft.session.record import Record
from nbpeft.session.session import BASE_WORDS, Session

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from nbpeft.session.models import Handle

ROLES = ("system", "user", "assistant")


def ways(
    request: CompareRequest,
    asked: Sequence[Prompt],
    *,
    data: Any,
    records: Sequence[Record],
    namespace: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
) -> list[Way]:
    """The ways in which the base is asked beside the plain one: examples, system prompt, thinking.

    Args:
        asked: the prompts of the comparison; no row that asks one of them is shown.
        data: rows that have no name, else those that the request names; without any, examples are
            of what the first of `records` with named data was trained on.
        records: the adapters that are compared.
        namespace: the user's variables.

    Raises:
        RequestError: there are no rows to show, or too few.
        DataError: the rows that were given can't be read.
    """
    found = []
    if request.shots is not None:
        data = request.data if data is None else data
        if data is None:
            rows, notes = _trained_on(records, namespace, tokenizer)
        else:
            rows, notes = examples_of(data_.read(data, namespace), request.columns), ()
        shots = _first(request.shots, rows, asked)
        label = f"{request.shots} shot{'s' if request.shots > 1 else ''}"
        found.append(Way(label, shots=shots, notes=(_told(shots), *notes)))
    if request.system is not None:
        found.append(Way("system", system=request.system))
    if request.think:
        found.append(Way("think", thinks=True))
    return found


WITH_CONTEXT = f"base+{LABEL}"
"""The base given the context that an adapter has learned."""


def contexts(names: Sequence[str], session: Session, handle: Handle) -> list[Way]:
    """What `base+context` among names stands for: the contexts of the adapters beside it.

    Raises:
        RequestError: none of them was distilled from a context.
        AdapterError: a name that isn't there.
    """
    if WITH_CONTEXT not in names:
        return []
    records = records_of(session, handle, [name for name in names if name != WITH_CONTEXT])
    found = {r.name: r.request["context"] for r in records if r.request.get("context")}
    if not found:
        raise RequestError(
            f"{WITH_CONTEXT} is the base with the context of an adapter beside it, and none here "
            "was made by %%distill from a context: name one, or type --system TEXT."
        )
    ways = {name: context_of(context) for name, context in found.items()}
    if len(ways) == 1:
        return list(ways.values())
    return [replace(way, label=f"{LABEL} ({name})") for name, way in ways.items()]


def records_of(session: Session, handle: Handle, names: Sequence[str]) -> list[Record]:
    """The adapters among names; AdapterError for one that isn't there."""
    return [session.record(handle, name) for name in names if name not in BASE_WORDS]


def _trained_on(
    records: Sequence[Record], namespace: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> tuple[Iterator[Shot], tuple[str, ...]]:
    """The rows that an adapter was trained on, as they are now, and what to say of them.

    Of the first whose rows have a name.
    """
    trained = [record for record in records if "rendering" in record.data]
    if not trained:
        raise RequestError("There is no data to take shots from: add --data X.")
    record = next((r for r in trained if r.request.get("data") is not None), None)
    if record is None:
        raise RequestError(
            f"{trained[0].label} was trained on rows that had no name, so that none are found for "
            "shots: add --data X."
        )
    name, held_out = record.request["data"], record.request.get("eval")
    rendering = data_.Rendering.from_dict(record.data["rendering"])
    kind = objectives.get(record.objective).signal
    try:
        parts, fingerprint = training_parts(
            data_.read_mix(name, namespace),
            signal_of(kind, loss_on="answers", apart=rendering.apart),
            columns=record.request.get("columns"),
            eval=data_.read_mix(held_out, namespace) if isinstance(held_out, str) else held_out,
            rendering=rendering,
            tokenizer=tokenizer,
        )
    except DataError as error:
        raise RequestError(
            f"The rows that {record.label} was trained on, {quoted(name)}, can't be read for shots "
            f"(add --data X for others): {error}"
        ) from error
    if fingerprint == record.data["fingerprint"]:
        return examples_trained_on(parts), ()
    changed = f"{quoted(name)} has other rows now than when {record.label} was trained on it"
    return examples_trained_on(parts), (changed,)


def _first(count: int, rows: Iterator[Shot], asked: Sequence[Prompt]) -> tuple[Shot, ...]:
    """The first rows that can be shown, and that give no asked prompt's answer away."""
    taken = {question for prompt in asked for question in questions_in(prompt)[-1:]}
    found: list[Shot] = []
    for shot in rows:
        if _is_plain(shot.prompt) and not taken.intersection(questions_in(shot.prompt)):
            taken.update(questions_in(shot.prompt))  # nor is a copy shown twice
            found.append(shot)
        if len(found) == count:
            return tuple(found)
    raise RequestError(
        f"shots {count} are more than the {len(found)} rows that can be shown: the others ask what "
        "is asked here, or use tools; ask for fewer, or give other rows with --data X."
    )


def _is_plain(prompt: Prompt) -> bool:
    """Whether a row is talk alone: calls of tools would want the tools, too."""
    return isinstance(prompt, str) or all(
        m["role"] in ROLES and isinstance(m.get("content"), str) for m in prompt
    )


def _told(shots: Sequence[Shot]) -> str:
    """Which rows are shown."""
    rows: dict[str, list[int]] = {}
    for shot in shots:
        rows.setdefault(shot.label, []).append(shot.number)
    shown = (
        f"row{'s' if len(numbers) > 1 else ''} {listed(map(str, sorted(numbers)))} of "
        f"{shown_name(label)}"
        for label, numbers in rows.items()
    )
    return f"shown before each prompt: {' and '.join(shown)}"
