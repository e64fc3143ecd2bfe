"""The Python calls: each builds a request, and calls the same piece as the magic of its name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft import variables
from nbpeft.errors import RequestError
from nbpeft.events import Events
from nbpeft.listing.adapters import Adapters
from nbpeft.request import LossOn, Request
from nbpeft.variables import handle_of, reader_of, tokenizer_if_known, tokenizer_of

if TYPE_CHECKING:
    from nbpeft.attaching import AttachRequest, Sizes
    from nbpeft.comparison import Comparison, Prompt
    from nbpeft.comparison.losses import Losses
    from nbpeft.data.hosting import Exported, ExportRequest
    from nbpeft.data.looking.look import Look
    from nbpeft.fitting import Fit
    from nbpeft.holding import Memory
    from nbpeft.listing.one import Description
    from nbpeft.merging import Merged, MergeRequest
    from nbpeft.rating import Rating
    from nbpeft.run import Run
    from nbpeft.session.record import Record
    from nbpeft.session.session import Attached


def finetune(
    name: str, data: Any = None, *, model: Any = None, tokenizer: Any = None, eval: Any = None,
    **words: Any,
) -> Run:  # fmt: skip
    """Tune the model in the kernel; the twin of `%%finetune`, with the same words as keywords.

    `data`, `model`, `tokenizer`, `eval`, `reward` and `judge` take the objects themselves, or the
    names of variables (for data also a path, tiny:NAME or hub:owner/name). All other words are
    those of `%%finetune?`; Python reserves `from`, so that one is `from_`.

    Returns a `Run` with `.record`, `.metrics` and `.plan`. Raises an error of `nbpeft.errors` with
    one clear line; the model is as it was, whatever happens.
    """
    from nbpeft.prepare import Bindings
    from nbpeft.typed import from_call

    named, live = _sorted_out(data=data, model=model, tokenizer=tokenizer, eval=eval)
    words, signals = _signals(words)
    request = from_call(name, {**words, **named})
    return execute(request, Bindings(namespace=variables.namespace(), signals=signals, **live))


def execute(request: Request, bindings: Any) -> Run:
    """Run a request with the view that fits this frontend; every front door ends here."""
    from nbpeft.chains import run
    from nbpeft.session import current
    from nbpeft.views import choose

    return run(request, current(), bindings, lambda: Events([choose()]))


def fit(
    name: str = "fit", data: Any = None, *, model: Any = None, tokenizer: Any = None,
    eval: Any = None, **words: Any,
) -> Fit:  # fmt: skip
    """Whether a run would fit into memory; the twin of `%peft_fit`, with the words of `finetune`.

    One step of that very run is traced by shape, on its longest rows: nothing is allocated, nothing
    changed. Returns a `Fit`, which shows itself as a table of what takes how much, what is free,
    and what to change where it doesn't fit; it has `.fits`, `.needed` and `.free` (bytes). Raises
    what `finetune` would before it begins, and RunError where the model can't be traced.
    """
    from nbpeft.prepare import Bindings
    from nbpeft.typed import from_call

    named, live = _sorted_out(data=data, model=model, tokenizer=tokenizer, eval=eval)
    words, signals = _signals(words)
    request = from_call(name, {**words, **named})
    bindings = Bindings(namespace=variables.namespace(), signals=signals, **live)
    return execute_fit(request, bindings)


def execute_fit(request: Request, bindings: Any) -> Fit:
    """Look whether a request's run fits; every front door ends here."""
    from nbpeft.fitting import fit as fit_
    from nbpeft.session import current

    return fit_(request, current(), bindings)


def attach(
    name: str | None, *, model: Any = None, tokenizer: Any = None, method: str | None = None,
    as_: str | None = None, **words: Any,
) -> Any:  # fmt: skip
    """The model answers as adapter `name` from now on; the twin of `%peft_attach`.

    `name` is NAME or NAME@VERSION; None, the base; 'a+b', LoRA adapters combined by `weights`,
    `combination`, …; NAME with `rank`, one of dylora cut to it; a path, or hub:owner/name, of an
    adapter that PEFT wrote. `as_` keeps what is combined, cut or loaded under a name of its own.

    With `method` an untrained adapter is set up under that name, and attached: the model's
    trainable parameters are exactly its own, your loop or Trainer trains it, and `nbpeft.save`
    shelves it. The other words are the method's settings; `dry_run=True` only counts, and returns
    a `Sizes`.

    Returns the model to use: with a soft prompt it is a wrapper, which in a notebook the names of
    the model hold from now on, too; with a head, a classifier around the model. Raises
    AdapterError for a name that isn't there or belongs to another model, RequestError for a
    setting that can't be.
    """
    from nbpeft.attaching import AttachRequest, Sizes

    named, live = _sorted_out(model=model, tokenizer=tokenizer)
    given = {**words, **named, "method": method, "as_": as_, "none": name is None}
    done = execute_attach(AttachRequest.of(name, given), **live)
    return done if isinstance(done, Sizes) else done.model


def execute_attach(
    asked: AttachRequest, model: Any = None, tokenizer: Any = None
) -> Attached | Sizes:
    """Do what was asked, and tell which names hold another object than before."""
    from nbpeft.attaching import attach as attach_
    from nbpeft.attaching import count_only
    from nbpeft.session import current

    handle = handle_of(model if model is not None else asked.model)
    if asked.dry_run:
        return count_only(handle, asked)
    tokenizer = tokenizer_if_known(asked.tokenizer if tokenizer is None else tokenizer)
    return attach_(current(), handle, asked, tokenizer)


def compare(
    names: str | Sequence[str] | None = None, prompts: Sequence[Prompt] | None = None, *,
    data: Any = None, model: Any = None, tokenizer: Any = None, **words: Any,
) -> Comparison:  # fmt: skip
    """Answer the same prompts as several adapters, side by side; 'base' is the model alone.

    The twin of `%%peft_compare`, with the same words as keywords. Without `names`, the base and
    every adapter of this model; without `prompts` and `data`, a few from the data of the first
    adapter that kept some. `data`, `model` and `tokenizer` take the objects themselves, or what
    names them. Greedy unless `sample=True`, in eval mode. With `shots=3`, `system="…"` or
    `think=True` a column more each: the base that is prompted instead of tuned. Returns a
    `Comparison`, which shows itself as a table and has `.to_pandas()` and `.figures`.
    """
    from nbpeft.comparison import CompareRequest
    from nbpeft.comparison import compare as compare_
    from nbpeft.comparison.baselines import records_of, ways
    from nbpeft.comparison.questions import questions
    from nbpeft.session import current

    named, live = _sorted_out(data=data, model=model, tokenizer=tokenizer)
    request = CompareRequest.of({**words, **named})
    asked, expected = questions(request, prompts, live.get("data"), variables.namespace())
    session, handle = current(), handle_of(live.get("model", request.model))
    tokenizer = tokenizer_of(live.get("tokenizer", request.tokenizer))
    names = [names] if isinstance(names, str) else names or ["base", *session.names(handle)]
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
    return compare_(
        session,
        handle,
        tokenizer,
        list(names),
        asked,
        ways=baselines,
        expected=expected,
        max_new_tokens=request.max_new_tokens,
        seed=request.seed if request.sample else None,
    )


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

    named, live = _sorted_out(data=data, model=model, tokenizer=tokenizer)
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
    from nbpeft.objectives import objectives
    from nbpeft.prepare import refuse_model, row_length
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


def adapters() -> Adapters:
    """Every adapter: name -> record, earlier versions as NAME@VERSION; shows itself as a table."""
    from nbpeft.session import current

    session = current()
    return Adapters(
        session.records(),
        attached=session.attached(),
        unfinished=session.shelf.all_unfinished(),
    )


def describe(name: str, *, model: Any = None, tokenizer: Any = None) -> Description:
    """All that is known of the adapter NAME or NAME@VERSION; the twin of `%peft_adapters NAME`.

    `model` and `tokenizer` are given as to `finetune`; the kernel's only ones are found. With them
    the real tokens nearest to each vector of a soft prompt are shown, too. Returns a `Description`
    with `.record` and `.nearest`, which shows itself as a table. Raises AdapterError for a name
    that isn't there.
    """
    from nbpeft.listing.one import describe as describe_
    from nbpeft.session import current
    from nbpeft.session.models import models_in

    session = current()
    for value in [model] if model is not None else models_in(variables.namespace()).values():
        handle_of(value)  # so that the session knows it
    record, handle = session.find(name)
    return describe_(session, record, handle, tokenizer_if_known(tokenizer))


def look(
    data: Any,
    *,
    columns: Mapping[str, str] | str | None = None,
    eval: Any = None,
    max_length: int | None = None,
    loss_on: str = "answers",
    objective: str = "sft",
    rows: Sequence[int] | None = None,
    model: Any = None,
    tokenizer: Any = None,
) -> Look:
    """What a run would train on, before any run; the twin of `%peft_data`.

    `data` is given as to `finetune`; `columns`, `max_length`, `loss_on` and `objective` are its
    words: an objective reads rows in its own way, as preferences, say. `eval` is
    data to hold out, whose rows are looked for among those to train on. `rows` are the numbers of
    rows to show token by token; by default the first, one of median length and the longest. Rows
    are written for `model`, or for the kernel's only one, and without `max_length` it is that of a
    run on it.

    Every row is checked, at most 2,000 are tokenized. Returns a `Look`, which shows itself as
    figures, a histogram and rows, and has `.lengths`, `.tokens`, `.trained_tokens` and `.refusal`.
    Raises DataError for rows that can't be read, RequestError for a word that can't be.
    """
    from nbpeft.architectures import architecture_of
    from nbpeft.coerce import coerce
    from nbpeft.data import read_mix
    from nbpeft.data.looking.look import look as look_
    from nbpeft.data.signals import signal_of
    from nbpeft.objectives import objectives
    from nbpeft.prepare import row_length

    tokenizer = tokenizer_of(tokenizer)
    if isinstance(eval, int | float):
        raise RequestError(
            f"eval can't be {eval}: a look is at all rows; give held-out data: eval=test."
        )
    reader = reader_of(model)
    return look_(
        read_mix(data, variables.namespace()),
        tokenizer,
        signal=signal_of(
            objectives.get(objective).signal,
            loss_on=coerce("loss_on", loss_on, LossOn),
            apart=reader is not None and architecture_of(reader) == "encoder-decoder",
        ),
        columns=coerce("columns", columns, dict[str, str] | None),
        eval=None if eval is None else read_mix(eval, variables.namespace()),
        max_length=row_length(max_length, reader),
        rows=coerce("rows", rows, list[int] | None),
    )


def export(
    data: Any, path: str | os.PathLike[str], to: str = "openai", *,
    columns: Mapping[str, str] | str | None = None, tokenizer: Any = None,
) -> Exported:  # fmt: skip
    """Write data as a hosted service tunes on it; the twin of `%peft_data X --to S PATH`.

    `data` is given as to `finetune`: chats, or preferences (prompt, chosen, rejected). `path` is a
    JSONL file that isn't there yet. `to` is 'openai' (the lines of which Azure OpenAI, Together and
    Fireworks take, too) or 'vertex' (Gemini on Vertex AI); schemas are those documented on the day
    that the result names. `tokenizer`, or the kernel's only one, counts the tokens of long rows.

    Every row is checked, the file is read back. Returns an `Exported`, which shows itself as a
    table. Raises RowsError, with all of them in `.problems`, where the service wouldn't take some
    rows; then nothing is written. RequestError for a file that isn't free.
    """
    from nbpeft.data.hosting import ExportRequest

    named, live = _sorted_out(data=data, tokenizer=tokenizer)
    words = {"to": to, "columns": columns, "tokenizer": named.get("tokenizer")}
    asked = ExportRequest.of([named.get("data"), os.fspath(path)], words)
    return execute_export(asked, **live)


def execute_export(asked: ExportRequest, data: Any = None, tokenizer: Any = None) -> Exported:
    """Do what was asked."""
    from nbpeft.data import read
    from nbpeft.data.hosting import export as export_

    return export_(
        read(asked.data if data is None else data, variables.namespace()),
        asked.path,
        asked.to,
        columns=asked.columns,
        tokenizer=tokenizer_if_known(asked.tokenizer if tokenizer is None else tokenizer),
    )


def save(name: str, *, model: Any = None) -> Record:
    """Put an adapter that lives in this kernel only (or in your own PeftModel) on the shelf."""
    from nbpeft.session import current

    return current().save(handle_of(model), name)


def merge(
    name: str, to: str | os.PathLike[str], *, into: str = "originals", model: Any = None,
    tokenizer: Any = None,
) -> Merged:  # fmt: skip
    """Write the whole model, adapter `name` merged into its weights; the twin of `%peft_merge`.

    `to` is a folder that isn't there yet; transformers' `from_pretrained` loads it. `into` is
    'originals', the weights as loaded, also for an adapter that was trained on 4 or 8 bits; or
    'nf4', 'fp4', 'int8': the merged model quantized, or, where the originals are gone, the
    quantized weights that it was trained on. A tokenizer is saved beside: `tokenizer`, or the
    kernel's only one. How far the merged model answers from the adapter is measured, and said.

    Nothing in the kernel is changed. It needs memory for a copy of the layers that the adapter
    changes; see `nbpeft.merging.merge`. Returns a `Merged`, which shows itself as a table. Raises
    AdapterError for a name that isn't there, RequestError for a folder that isn't free and for an
    adapter that is no change of weights, ModelError where the weights to merge into are gone,
    RunError where the folder can't be written.
    """
    from nbpeft.merging import MergeRequest

    named, live = _sorted_out(model=model, tokenizer=tokenizer)
    asked = MergeRequest.of([name], {"to": os.fspath(to), "into": into, **named})
    return execute_merge(asked, **live)


def execute_merge(asked: MergeRequest, model: Any = None, tokenizer: Any = None) -> Merged:
    """Do what was asked, and say in a line what came of it."""
    from nbpeft.merging import merge as merge_
    from nbpeft.session import current

    handle = handle_of(model if model is not None else asked.model)
    tokenizer = tokenizer_if_known(asked.tokenizer if tokenizer is None else tokenizer)
    done = merge_(current(), handle, asked, tokenizer)
    print(f"[nbpeft] merged: {done.line()}")  # noqa: T201  the answer
    return done


def memory(*names: str, free: bool = False) -> Memory:
    """Who holds memory: variables, outputs, the last traceback, adapters; see `%peft_memory`.

    With `free`, once outputs and a traceback that hold tensors were let go, adapters that the
    shelf has (they are read again when needed), and the variables `names`. Returns a `Memory`,
    which shows itself as a table and holds nothing. Raises RequestError for a name that no variable
    has.
    """
    from IPython.core.getipython import get_ipython

    from nbpeft.holding import memory as memory_
    from nbpeft.session import current

    return memory_(current(), variables.namespace(), get_ipython(), names, free=free)


def _signals(words: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the words, with names for what judges; the objects that were given for these)."""
    live = {w: words[w] for w in ("reward", "judge") if callable(words.get(w))}
    names = {word: getattr(value, "__name__", word) for word, value in live.items()}
    return {**words, **names}, live


def _sorted_out(**given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what names something or is a plain value, what is a live object)."""
    named, live = {}, {}
    for word, value in given.items():
        if isinstance(value, str | int | float):
            named[word] = value
        elif value is not None:
            live[word] = value
    return named, live
