"""Adapters: to attach, list, describe, save and merge them; to rename, delete and export them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft import variables
from nbpeft.api._given import sorted_out
from nbpeft.listing.adapters import Adapters
from nbpeft.variables import handle_of, tokenizer_if_known

if TYPE_CHECKING:
    from nbpeft.attaching import AttachRequest, Sizes
    from nbpeft.listing.one import Description
    from nbpeft.merging import Merged, MergeRequest
    from nbpeft.session.record import Record
    from nbpeft.session.session import Attached


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

    named, live = sorted_out(model=model, tokenizer=tokenizer)
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

    session = current()
    if model is None:
        _meet_models()
    elif not session.is_in_use(model):
        handle_of(model)
    record, handle = session.find(name)
    free = None if handle is None or handle.turn.is_others else handle
    return describe_(session, record, free, tokenizer_if_known(tokenizer))


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

    named, live = sorted_out(model=model, tokenizer=tokenizer)
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


def rename(name: str, to: str) -> None:
    """Call adapter `name`, with all its versions, `to`; the twin of `%peft_adapters NAME --rename`.

    What is attached stays attached. What is kept beside it (a teacher's targets, the rows of a
    chain) and what a chain trained beside it (NAME-sft, NAME-labels) goes along, and adapters that
    went on from it say so under its new name. Raises AdapterError for a name that isn't there, that
    can't be one, or that is taken; nothing is changed then.
    """
    from nbpeft.session import current
    from nbpeft.upkeep import rename as rename_

    _meet_models()
    for old, new in rename_(current(), name, to).items():
        print(f"[nbpeft] renamed: {old} is {new} from now on")  # noqa: T201  the answer


def delete(name: str) -> None:
    """Delete adapter NAME, all its versions, or NAME@VERSION; as `%peft_adapters NAME --delete`.

    It is gone from the disk and from memory, with what is kept beside it. One that is attached is
    refused; adapters that went on from it keep loading. Raises AdapterError for a name that isn't
    there.
    """
    from nbpeft.errors import listed
    from nbpeft.session import current
    from nbpeft.upkeep import delete as delete_

    _meet_models()
    gone = delete_(current(), name) or [f"{name}, a run that came to no end"]
    print(f"[nbpeft] deleted: {listed(gone)}")  # noqa: T201  the answer


def export_adapter(name: str, to: str | os.PathLike[str] | None = None) -> Path:
    """Write adapter NAME or NAME@VERSION as one zip to take away; the twin of `%peft_export`.

    Unzipped, it is a folder that plain `PeftModel.from_pretrained` loads, or `nbpeft.attach` where
    PEFT has no format for it: safetensors and JSON alone, among them nbpeft's record, with its
    settings, figures and a few prompts of its data. `to` is a file that isn't there yet, by default
    NAME.zip in the working directory. Returns its path. Raises AdapterError for a name that isn't
    on the shelf, RequestError for a file that isn't free, RunError where it can't be written.

    (`nbpeft.export` writes data, for hosted services.)
    """
    from nbpeft import page
    from nbpeft.errors import quoted
    from nbpeft.rendering import bytes_size
    from nbpeft.session import current
    from nbpeft.upkeep import pack

    _meet_models()
    record, path = pack(current(), name, None if to is None else os.fspath(to))
    size = path.stat().st_size
    page.tell_file(path, size)
    told = f"{record.label} to {quoted(str(path), 200)}, {bytes_size(size)}"
    print(f"[nbpeft] exported: {told}")  # noqa: T201  the answer
    return path


def _meet_models() -> None:
    """Let the session know the kernel's models, and so the adapters of the user's PeftModels."""
    from nbpeft.session import current
    from nbpeft.session.models import models_in

    session = current()
    for value in models_in(variables.namespace()).values():
        if not session.is_in_use(value):
            handle_of(value)
