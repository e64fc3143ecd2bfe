"""What a model and its adapters answer: side by side, to be rated, and by their loss."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft import variables
from nbpeft.api._given import sorted_out
from nbpeft.request import LossOn
from nbpeft.variables import handle_of, tokenizer_of

if TYPE_CHECKING:
    from nbpeft.comparison import Comparison, Prompt
    from nbpeft.comparison.losses import Losses
    from nbpeft.rating import Rating


def compare(
    names: str | Sequence[str] | None = None, prompts: Sequence[Prompt] | None = None, *,
    data: Any = None, model: Any = None, tokenizer: Any = None, **words: Any,
) -> Comparison:  # fmt: skip
    """Answer the same prompts as several adapters, side by side; 'base' is the model alone.

    The twin of `%%peft_compare`, with the same words as keywords. Without `names`, the base and
    every adapter of this model; without `prompts` and `data`, a few from the data of the first
    adapter that kept some. `data`, `model` and `tokenizer` take the objects themselves, or what
    names them. Greedy unless `sample=True`, in eval mode. With `shots=3`, `system="…"` or
    `think=True` a column more each: the base that is prompted instead of tuned. The name
    'base+context' is the base with the context that an adapter was distilled from. Returns a
    `Comparison`, which shows itself as a table and has `.to_pandas()` and `.figures`.
    """
    from nbpeft.comparison import CompareRequest
    from nbpeft.comparison.again import Again
    from nbpeft.comparison.baselines import WITH_CONTEXT, contexts, records_of, ways
    from nbpeft.comparison.questions import questions
    from nbpeft.session import current

    named, live = sorted_out(data=data, model=model, tokenizer=tokenizer)
    request = CompareRequest.of({**words, **named})
    asked, expected = questions(request, prompts, live.get("data"), variables.namespace())
    session, handle = current(), handle_of(live.get("model", request.model))
    tokenizer = tokenizer_of(live.get("tokenizer", request.tokenizer))
    names = [names] if isinstance(names, str) else names or ["base", *session.names(handle)]
    learned = contexts(names, session, handle)
    names = [name for name in names if name != WITH_CONTEXT]
    if asked is None:
        asked = session.sample_prompts(handle, names)
    baselines = ways(
        request,
        asked,
        data=live.get("data"),
        records=records_of(session, handle, names),
        namespace=variables.namespace(),
        tokenizer=tokenizer,
    )
    again = Again(
        session, weakref.ref(handle), tokenizer,
        names=tuple(dict.fromkeys(names)), prompts=tuple(asked), ways=(*learned, *baselines),
        max_new_tokens=request.max_new_tokens, seed=request.seed if request.sample else None,
    )  # fmt: skip
    return again.compared(expected)


def rate(
    names: str | Sequence[str] | None = None, prompts: Sequence[Prompt] | None = None, *,
    data: Any = None, model: Any = None, tokenizer: Any = None, **words: Any,
) -> Rating:  # fmt: skip
    """Rate answers of adapters, blind; the twin of `%%peft_rate`, with the same words as keywords.

    Without `names`, the base and every adapter; prompts and data as for `compare`. Returns a
    `Rating`, which shows itself as buttons, and has `.press(key)`, `.finish()` and `.ratings`: the
    rows, a list to give as data, with `.preferences()` and `.thumbs()`.
    """
    from nbpeft.rating import RateRequest
    from nbpeft.rating import rate as rate_
    from nbpeft.session import current

    named, live = sorted_out(data=data, model=model, tokenizer=tokenizer)
    request = RateRequest.of([names] if isinstance(names, str) else names or [], words | named)
    handle = handle_of(live.get("model", request.model))
    tokenizer = tokenizer_of(live.get("tokenizer", request.tokenizer))
    return rate_(
        current(), handle, tokenizer, request,
        given=prompts, data=live.get("data"), namespace=variables.namespace(),
    )  # fmt: skip


def evaluate(
    data: Any, names: str | Sequence[str] | None = None, *, model: Any = None,
    tokenizer: Any = None, columns: Mapping[str, str] | str | None = None,
    max_length: int | None = None, loss_on: str = "answers",
) -> Losses:  # fmt: skip
    """The loss of the base and of adapters on the same rows, in nats a trained token.

    `data` is given as to `finetune`, as are `columns`, `max_length` and `loss_on`. Without `names`,
    the base and every adapter of this model. On held-out rows it says what was learned; on rows of
    what the model knew before, what was forgotten. Returns a `Losses`, {name: loss}, which shows
    itself as a table.
    """
    from nbpeft.architectures import architecture_of
    from nbpeft.coerce import coerce
    from nbpeft.comparison.losses import losses
    from nbpeft.data import read_mix
    from nbpeft.defaults import row_length
    from nbpeft.objectives import objectives
    from nbpeft.prepare import refuse_model
    from nbpeft.session import current

    session, handle = current(), handle_of(model)
    architecture = architecture_of(handle.root)
    refuse_model(handle.root, objectives.get("sft"), architecture)
    objective = objectives.get("sft").on(architecture)
    tokenizer = tokenizer_of(tokenizer)
    rows = objective.rows(
        read_mix(data, variables.namespace()),
        tokenizer,
        columns=coerce("columns", columns, dict[str, str] | None),
        eval=0,
        max_length=row_length(max_length, handle.root),
        loss_on=coerce("loss_on", loss_on, LossOn),
    )
    names = [names] if isinstance(names, str) else names or ["base", *session.names(handle)]
    return losses(session, handle, list(names), rows, objective.batch(tokenizer))
