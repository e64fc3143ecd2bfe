"""Runs: to tune, and to ask if a run would fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft import variables
from nbpeft.api._given import sorted_out
from nbpeft.events import Events
from nbpeft.request import Request

if TYPE_CHECKING:
    from nbpeft.background import Job
    from nbpeft.bindings import Bindings
    from nbpeft.fitting import Fit
    from nbpeft.run import Run
    from nbpeft.scripts import Script


def finetune(
    name: str, data: Any = None, *, model: Any = None, tokenizer: Any = None, eval: Any = None,
    **words: Any,
) -> Run | Job:  # fmt: skip
    """Tune the model in the kernel; the twin of `%%finetune`, with the same words as keywords.

    `data`, `model`, `tokenizer`, `eval`, `reward` and `judge` take the objects themselves, or the
    names of variables (for data also a path, tiny:NAME or hub:owner/name). All other words are
    those of `%%finetune?`; Python reserves `from`, so that one is `from_`.

    Returns a `Run` with `.record`, `.metrics` and `.plan`; with `background=True`, once the run is
    prepared, a `Job` with `.wait()`, `.stop()`, `.state` and `.result`. Raises an error of
    `nbpeft.errors` with one clear line; the model is as it was, whatever happens.
    """
    objects = {"data": data, "model": model, "tokenizer": tokenizer, "eval": eval}
    return execute(*_asked(name, objects, words))


def distill(
    name: str, context: Any = None, *, prompts: Any = None, data: Any = None, teacher: Any = None,
    student: Any = None, model: Any = None, tokenizer: Any = None, eval: Any = None, **words: Any,
) -> Run | Job:  # fmt: skip
    """Learn what a context makes the model do, or what a larger one knows; the twin of `%%distill`.

    With `context` (a text, or a list of examples with prompt and completion) the model learns to
    answer `prompts` as it does with it. With `teacher` the `student` learns its next-token
    distributions on `data`. Models, `prompts` and `data` are given as objects, or by what names
    them; `prompts` is another word for `data`, `student` for `model`. All other words are those of
    `%%distill?`.

    Returns and raises as `finetune`. A teacher that is the student itself, another vocabulary, an
    empty context or one that is longer than the model's window are refused before anything begins.
    """
    from nbpeft.bindings import Bindings
    from nbpeft.cells import distill_call, renamed

    given = {
        "context": context, "prompts": prompts, "data": data, "teacher": teacher,
        "student": student, "model": model, "tokenizer": tokenizer, "eval": eval, **words,
    }  # fmt: skip
    words, signals = _signals(renamed({w: v for w, v in given.items() if v is not None}))
    objects = {word: words.pop(word, None) for word in ("data", "model", "tokenizer", "eval")}
    named, live = sorted_out(**objects)
    request = distill_call(name, {**words, **named})
    return execute(request, Bindings(namespace=variables.namespace(), signals=signals, **live))


def form(
    name: str | None = None, data: Any = None, *, model: Any = None, tokenizer: Any = None,
    eval: Any = None, **words: Any,
) -> None:  # fmt: skip
    """Open a form that asks for a run; the twin of `%finetune` with no arguments.

    All words are those of `finetune`, and stand in the form's fields. As they change it shows what
    the run would come to; it runs it, or gives the equal cell or the plain script. Raises
    RequestError for a word that can't be; without a notebook it prints what to type instead.
    """
    from nbpeft.forms.door import NAME
    from nbpeft.typed import from_call

    objects = {"data": data, "model": model, "tokenizer": tokenizer, "eval": eval}
    held = {id(value): name for name, value in variables.namespace().items()}
    given = {word: held.get(id(value), value) for word, value in objects.items()}
    named, live = sorted_out(**given)
    words, signals = _signals(words)
    request = from_call(name or NAME, {**words, **named})
    open_form(request, live={**live, "signals": signals})


def open_form(
    request: Request, *, rows: Sequence[Any] | None = None, live: Mapping[str, Any] | None = None
) -> None:
    """Open the form with what was asked; every front door ends here.

    Args:
        rows: inline rows of a cell.
        live: objects that have no name.
    """
    from nbpeft.forms import show

    show(dataclasses.replace(request, form=False), execute, execute_code, rows=rows, live=live)


def execute(request: Request, bindings: Any) -> Run | Job:
    """Run a request with the view that fits this frontend; every front door ends here."""
    from nbpeft.chains import run
    from nbpeft.session import current
    from nbpeft.views import choose

    # How it is run is no part of what it is: neither its record nor one that goes on has it.
    background, request = request.background, dataclasses.replace(request, background=False)
    if background and not request.dry_run:
        from nbpeft.background import start

        return start(request, current(), bindings)
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
    objects = {"data": data, "model": model, "tokenizer": tokenizer, "eval": eval}
    return execute_fit(*_asked(name, objects, words))


def execute_fit(request: Request, bindings: Any) -> Fit:
    """Look whether a request's run fits; every front door ends here."""
    from nbpeft.fitting import fit as fit_
    from nbpeft.session import current

    return fit_(request, current(), bindings)


def show_code(
    name: str, data: Any = None, *, model: Any = None, tokenizer: Any = None, eval: Any = None,
    **words: Any,
) -> Script:  # fmt: skip
    """The plain transformers, peft and trl script of a run; with the words of `finetune`.

    It trains on the same rows in the same order, from the same start, to the same losses but for
    rounding. Nothing is trained here, and nothing changed. Returns a `Script`, which shows itself
    as code in colours; it has `.text`, and `.own`: what of the run is nbpeft's own and so isn't in
    the text, which is '' where the libraries have nothing that does the same. Raises what
    `finetune` would before it begins.
    """
    objects = {"data": data, "model": model, "tokenizer": tokenizer, "eval": eval}
    return execute_code(*_asked(name, objects, words))


def execute_code(request: Request, bindings: Any) -> Script:
    """The script of a request's run; every front door ends here."""
    from nbpeft.prepare import prepare
    from nbpeft.scripts import script_of
    from nbpeft.session import current

    return script_of(prepare(request, current(), bindings))


def _asked(
    name: str, objects: Mapping[str, Any], words: Mapping[str, Any]
) -> tuple[Request, Bindings]:
    """What a call asks for, and the live objects that it was given."""
    from nbpeft.bindings import Bindings
    from nbpeft.typed import from_call

    named, live = sorted_out(**objects)
    words, signals = _signals(words)
    request = from_call(name, {**words, **named})
    return request, Bindings(namespace=variables.namespace(), signals=signals, **live)


def _signals(words: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the words, with names for what judges; the objects that were given for these)."""
    live = {w: words[w] for w in ("reward", "judge", "teacher") if callable(words.get(w))}
    names = {word: _name_of(word, value) for word, value in live.items()}
    return {**words, **names}, live


def _name_of(word: str, value: Any) -> str:
    """What an object is called: a function's own name, or a variable's of the kernel."""
    held = (name for name, other in variables.namespace().items() if other is value)
    return getattr(value, "__name__", None) or next(held, word)
