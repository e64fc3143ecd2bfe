"""From a request to a folder with a whole model: measure, merge, measure again, write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, quoted
from nbpeft.guard import Guard, random_state, restore_random_state
from nbpeft.merging import folder
from nbpeft.merging.request import MergeRequest
from nbpeft.merging.result import Drift, Merged
from nbpeft.merging.targets import Target, check_kind, target_of
from nbpeft.methods._stored import entry
from nbpeft.precision import AS_LOADED
from nbpeft.quiet import quiet
from nbpeft.session.derived import folder_of
from nbpeft.session.models import Handle
from nbpeft.session.record import Record
from nbpeft.session.session import Session

if TYPE_CHECKING:
    from nbpeft.merging.tree import Tree
    from nbpeft.mounts import Mount


LOST = 0.5
"""Drift, as a share of the divergence without the adapter, from which most of it is lost."""


def merge(session: Session, handle: Handle, asked: MergeRequest, tokenizer: Any = None) -> Merged:
    """Write a model with an adapter in its weights; nothing in the kernel is changed by it.

    Layers are merged one at a time, on copies, and stand in the model by pointers while it is
    measured and saved. In memory that takes, beside the base in the state that it is merged over
    (as loaded, for the originals), a copy of every layer that the adapter changes: on a GPU those
    copies wait in host memory. With a quantized `into`, a quantized copy of the model instead.

    Args:
        tokenizer: is saved beside; and with it the drift is measured on the adapter's own prompts.

    Raises:
        AdapterError: there is no such adapter, or it is another model's.
        RequestError: the folder isn't free, or the adapter is no change of weights.
        ModelError: the weights to merge into aren't there.
        RunError: the folder can't be written; nothing is left of it.
    """
    from nbpeft.merging import drift

    path = folder.free(asked.to, session.shelf.folder)
    record = session.record(handle, asked.name)
    target = target_of(handle, record, asked.into)
    random = random_state()
    try:
        with quiet(), contextlib.ExitStack() as stack:
            mount = session.mount(handle, record)
            check_kind(record, mount, target)
            root: Any = handle.root
            prompts, of = drift.starts(root, record, tokenizer)
            with handle.answering_as(record.label) as model:
                texts = drift.probes(model, root, prompts)
                before = drift.log_probabilities(model, root, texts)
            source = None
            if mount.state != target.state:
                source = stack.enter_context(folder_of(session, handle, record))
            stack.enter_context(handle.bare(target.state))
            if source is not None:
                mount = entry(record.method).load(root, source)
            stack.enter_context(Guard(root, tokenizer=tokenizer))
            without = drift.log_probabilities(root.eval(), root, texts)
            stack.enter_context(_standing(root, record, mount, target))
            after = drift.log_probabilities(root.eval(), root, texts)
            size = folder.put(path, lambda place: _save(root, tokenizer, place))
    finally:
        restore_random_state(random)
    measured = None
    if before is not None and after is not None and without is not None:
        far = drift.distance(before, after)
        base = drift.distance(before, without).kl
        measured = Drift(far.kl, far.changed, base, far.positions, of)
    return Merged(
        adapter=record.label,
        path=path,
        into=asked.into,
        trained_on=handle.precision.loaded if record.state == AS_LOADED else record.state,
        drift=measured,
        size=size,
        with_tokenizer=tokenizer is not None,
        notes=_notes(measured, target),
    )


def _notes(measured: Drift | None, target: Target) -> tuple[str, ...]:
    if measured is None or not target.in_few_bits or measured.kl <= LOST * measured.base:
        return ()
    return (
        "most of the adapter is lost: quantized weights lie on a grid, and small changes are "
        "rounded back to where they were; load the model again, not quantized, and merge into "
        "originals",
    )


@contextlib.contextmanager
def _standing(root: Any, record: Record, mount: Mount, target: Target) -> Iterator[None]:
    """Inside, the bare root is the merged model."""
    from nbpeft.merging.tree import Tree
    from nbpeft.mounts.adopted import AdoptedMount
    from nbpeft.mounts.modules import ModulesMount
    from nbpeft.precision.checks import check

    if target.quantize is not None:
        check(root, target.quantize)
    with Tree.of(root, target.quantize) as tree, contextlib.ExitStack() as stack:
        if isinstance(mount, ModulesMount | AdoptedMount):
            _merge_layers(tree, record, mount)
        else:  # tuned parameters are weights already
            mount.put_in(root)
            stack.callback(mount.take_out, root)
        tree.quantize_rest()
        tree.untie()
        tree.mark()
        yield


def _merge_layers(tree: Tree, record: Record, mount: Any) -> None:
    from nbpeft.merging.layers import merged
    from nbpeft.mounts.adopted import AdoptedMount

    name = mount.name if isinstance(mount, AdoptedMount) else "default"
    for swap in mount.swaps:
        try:
            module = merged(swap.adapter, name)
        except Exception as error:  # what PEFT's layers raise has no common root
            why = " ".join(str(error).split()) or type(error).__name__
            raise RequestError(
                f"PEFT can't merge {record.label} ({record.method}): {quoted(why, 200)[1:-1]}"
            ) from error
        tree.put(f"{swap.parent}.{swap.child}".lstrip("."), module)


def _save(root: Any, tokenizer: Any, place: Path) -> None:
    # Of a model that the user added adapters to, transformers would save those alone.
    root._hf_peft_config_loaded = False
    root.save_pretrained(str(place))
    if tokenizer is not None:
        tokenizer.save_pretrained(str(place))
