"""The adapters of this kernel: where they are, and which model answers as which."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.beside import beside
from nbpeft.config import settings
from nbpeft.errors import AdapterError
from nbpeft.methods._stored import entry
from nbpeft.rendering import duration
from nbpeft.session.derived import Derived, is_derived
from nbpeft.session.loose import Loose
from nbpeft.session.models import Handle, notebook, rebind, root_of
from nbpeft.session.names import relabelled
from nbpeft.session.recipe import Recipe
from nbpeft.session.record import Record
from nbpeft.session.shelf import Shelf

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.mounts import Mount
    from nbpeft.mounts.heads import HeadMount

BASE_WORDS = ("base", "none")


@dataclass(frozen=True)
class Attached:
    """What a model answers as from now on."""

    record: Record | None
    """None is the base."""
    model: nn.Module
    """What answers."""
    names: tuple[str, ...]
    """The notebook's names that hold another object than before."""
    notes: tuple[str, ...] = ()
    """What the user should know of it."""


class Session:
    """One kernel's models and adapters. Nothing here keeps a model alive."""

    def __init__(self) -> None:
        self._handles: list[Handle] = []
        self.unsaved = Loose()
        self._derived = Loose()
        self._folders: dict[str, Path] = {}

    @property
    def shelf(self) -> Shelf:
        """The shelf at `NbPeft.adapters_dir`, which a later chdir doesn't move."""
        folder = settings().adapters_dir
        return Shelf(self._folders.setdefault(folder, _absolute(folder)))

    @property
    def handles(self) -> tuple[Handle, ...]:
        """The models that are known so far."""
        return tuple(self._handles)

    def handle(self, model: Any) -> Handle:
        """What is known of a model (or of a user's PeftModel, which is adopted).

        A background run has it to itself from here on. ModelError where another thread has.
        """
        root, run = root_of(model), beside()
        known = self.known(root)
        handle = known or Handle(root, model)
        if run is not None:
            run.take(handle)
        if known is not None:
            handle.refresh()
            return handle
        self._handles.append(handle)
        weakref.finalize(root, _forget, weakref.ref(self), weakref.ref(handle))
        return handle

    def known(self, root: nn.Module) -> Handle | None:
        """The handle of a model that the session has seen; it isn't looked at again."""
        return next((handle for handle in self._handles if handle.refers_to(root)), None)

    def is_in_use(self, model: Any) -> bool:
        """Whether another thread uses a model just now: a run in the background, say."""
        handle = None if isinstance(model, str) else self.known(root_of(model))
        return handle is not None and handle.turn.is_others

    def records(self) -> list[Record]:
        """Every adapter: on the shelf, only in the session, and adopted."""
        return self._on(self.shelf)

    def glance(self) -> list[Record]:
        """The same for somebody who only looks (Tab): where the shelf lies stays open."""
        folder = settings().adapters_dir
        return self._on(Shelf(self._folders.get(folder, _absolute(folder))))

    def _on(self, shelf: Shelf) -> list[Record]:
        adopted = [
            self._adopted(handle, name) for handle in self._handles for name in handle.adopted
        ]
        return shelf.records() + list(self.unsaved) + adopted

    def record(self, handle: Handle, label: str) -> Record:
        """This model's adapter NAME or NAME@VERSION, or one made of others (see `derived`).

        AdapterError when it has none.
        """
        if label in handle.adopted:
            return self._adopted(handle, label)
        if is_derived(label):
            return self.derived(handle, label)
        record = self._kept(label, [*BASE_WORDS, *handle.adopted])
        self.check_model(record, handle)
        return record

    @staticmethod
    def check_model(record: Record, handle: Handle) -> None:
        """AdapterError where an adapter is another model's."""
        if record.model != handle.fingerprint:
            raise AdapterError(
                f"{record.label} was trained on another model ({record.model}) than this one "
                f"({handle.fingerprint}); load that model, or train it again on this one."
            )

    def find(self, label: str) -> tuple[Record, Handle | None]:
        """Whichever model's adapter NAME or NAME@VERSION, and its model if that is here."""
        for handle in self._handles:
            if label in handle.adopted:
                return self._adopted(handle, label), handle
        record = self._kept(label, [name for h in self._handles for name in h.adopted])
        own = (h for h in self._handles if h.fingerprint == record.model)
        return record, next(own, None)

    def _kept(self, label: str, others: Sequence[str]) -> Record:
        names = [*others, *(record.name for record in self.unsaved)]
        here = self.unsaved.find(label, self.shelf.next_version)
        return here or self.shelf.get(label, names)

    def mount(self, handle: Handle, record: Record, *, in_place: bool = False) -> Mount:
        """The adapter over this model: as it is in memory, else from the shelf."""
        if record.label not in handle.mounts:
            assert record.path is not None  # what isn't on the shelf has its mount in memory
            with handle.bare(record.state, in_place=in_place):
                mount = entry(record.method).load(handle.root, record.path)
            handle.keep(record.label, mount, record.state)
        return handle.mounts[record.label]

    def head(self, handle: Handle, record: Record) -> HeadMount | None:
        """The head that an adapter is, or that stands beside it; None where it has none."""
        from nbpeft.mounts import heads

        mount = self.mount(handle, record)
        if isinstance(mount, heads.HeadMount):
            return mount
        if record.label in handle.heads:
            return handle.heads[record.label]
        if record.path is None or not (record.path / heads.CONFIG).is_file():
            return None
        return heads.load(handle.root, record.path)

    def derived(
        self, handle: Handle, label: str, recipe: Recipe | None = None, name: str | None = None
    ) -> Record:
        """An adapter made of others: `a+b` is their sum, `NAME:4` is cut to rank 4.

        It is made where it isn't there yet, or where a recipe says how, of their weights as they
        are now; its label has their versions. With `name` it is kept under that.
        """
        made = Derived.of(self, handle, label)
        before = self._derived.get(made.label)
        if recipe is None and before is not None and made.label in handle.mounts:
            return before
        recipe = recipe or (before and Recipe.of(before.settings["recipe"])) or Recipe()
        record, mount = made.make(self, handle, recipe)
        if name is not None:
            return self.keep_unsaved(handle, replace(record, name=name), mount)
        handle.keep(record.label, mount, record.state)
        self._derived.add(record)
        return record

    def attach(self, handle: Handle, label: str | None, *, in_place: bool = False) -> Attached:
        """The model answers as this adapter from now on; None is the base.

        Where a wrapper answers (soft prompts), the notebook's names of the model hold it. The base
        is brought to the precision that the adapter was made on, for good with `in_place`.
        """
        record = None if label is None or label in BASE_WORDS else self.record(handle, label)
        before, was, began = handle.face, handle.precision.now, time.monotonic()
        if record is not None:
            self.mount(handle, record, in_place=in_place)
        handle.attach(None if record is None else record.label, in_place=in_place)
        names = rebind(notebook(), before, handle.face)
        now, took = handle.precision.now, duration(time.monotonic() - began)
        notes = () if now == was else (f"the base's weights are {now} from now on ({took})",)
        return Attached(record, handle.answering, tuple(names), notes)

    @contextlib.contextmanager
    def answering_as(self, model: Any, label: str | None) -> Iterator[Any]:
        """`with session.answering_as(model, 'pirate') as model:` for a forward or a generate.

        Eval mode; pointers are swapped, no flag or value is touched; re-entrant.
        """
        handle = self.handle(model)
        inside = None
        if label is not None and label not in BASE_WORDS:
            record = self.record(handle, label)
            self.mount(handle, record)
            inside = record.label
        with handle.answering_as(inside) as answering:
            yield answering

    def keep(self, handle: Handle, record: Record, mount: Mount) -> Record:
        """Take in an adapter that has just been trained and shelved, without a head beside it."""
        from nbpeft.mounts import headed

        handle.keep(record.label, headed.parted(mount)[0], record.state)
        self._drop_pruned(handle, record.name)
        return record

    def keep_unsaved(self, handle: Handle, record: Record, mount: Mount) -> Record:
        """Take in an adapter that could not be written: it lives in this kernel only."""
        from nbpeft.mounts import headed

        record = replace(record, version=self.next_version(record.name))
        self.unsaved.add(record)
        adapter, head = headed.parted(mount)
        handle.keep(record.label, adapter, record.state)
        if head is not None:
            handle.heads[record.label] = head
        return record

    def next_version(self, name: str) -> int:
        """The version that the next adapter under this name gets."""
        here = (record.version + 1 for record in self.unsaved.of(name))
        return max([self.shelf.next_version(name), *here])

    def save(self, handle: Handle, label: str) -> Record:
        """Put an adapter on the shelf that isn't there yet; what is there stays as it is."""
        from nbpeft.mounts import headed

        record = self.record(handle, label)
        if record.path is not None:
            return record
        if is_derived(record.label):
            raise AdapterError(
                f"{record.label} has no name of its own to be saved under; give it one: "
                f"%peft_attach {label} --as NAME."
            )
        mount = self._finished(handle, record)
        head = handle.heads.get(record.label)
        whole = mount if head is None else headed.HeadedMount(mount, head)
        with handle.answering_as(record.label):
            saved = self.shelf.put(
                record if record.version else replace(record, version=1),
                lambda folder: whole.save(handle.root, folder),
                keep=settings().keep_versions,
            )
        self.unsaved.drop(record.label)
        handle.heads.pop(record.label, None)
        return saved

    def _finished(self, handle: Handle, record: Record) -> Mount:
        """What its method keeps of an adapter that the user trained, in its place."""
        mount = self.mount(handle, record)
        if record.name in handle.adopted:
            return mount
        with handle.answering_as(record.label):
            kept = entry(record.method).finish(mount, handle.root)
        if kept is not mount:
            attached, before = handle.attached, handle.face
            handle.attach(None)
            handle.keep(record.label, kept, record.state)
            handle.attach(attached)
            rebind(notebook(), before, handle.face)
        return kept

    def attached(self) -> list[str]:
        """The labels that the models answer as now."""
        return [handle.attached for handle in self._handles if handle.attached]

    def names(self, handle: Handle) -> list[str]:
        """The adapters of this model, each by its name, the newest last."""
        own = [r for r in self.records() if r.model == handle.fingerprint]
        return list(dict.fromkeys(r.name for r in sorted(own, key=lambda r: r.created)))

    def by_precision(self, handle: Handle, names: Sequence[str]) -> dict[str, list[str]]:
        """Names by the precision of the base that they stand on; that which it has now first.

        AdapterError for a name that isn't there.
        """
        now, found = handle.precision.now, dict[str, list[str]]()
        for name in names:
            base = name in BASE_WORDS
            state = handle.precision.home if base else self.record(handle, name).state
            found.setdefault(state, []).append(name)
        return dict(sorted(found.items(), key=lambda item: item[0] != now))

    def sample_prompts(self, handle: Handle, names: Sequence[str]) -> list[Any]:
        """A few prompts from the data of the first adapter among `names` that kept some."""
        for name in names:
            if name not in BASE_WORDS:
                prompts = self.record(handle, name).data.get("prompts")
                if prompts:
                    return list(prompts)
        return []

    def _adopted(self, handle: Handle, name: str) -> Record:
        config = handle.root.peft_config[name]  # type: ignore[index]
        mount = handle.adopted[name]
        return Record(
            name=name,
            version=0,
            method=str(config.peft_type.value).lower(),
            objective="adopted",
            model=handle.fingerprint,
            trainable_parameters=mount.trainable_parameters,
            total_parameters=handle.total_parameters,
        )

    def relabel(self, names: Mapping[str, str]) -> None:
        """Adapters have other names from now on; what is attached stays so."""

        def new(label: str) -> str:
            return relabelled(label, names)

        self.unsaved.relabel(new)
        self._derived.relabel(new)
        for handle in self._handles:
            handle.relabel(new)

    def forget(self, labels: Iterable[str]) -> bool:
        """Drop what is gone for good, nothing of it attached; whether any was in memory."""
        held = False
        for label in labels:
            self.unsaved.drop(label)
            self._derived.drop(label)
            for handle in self._handles:
                handle.heads.pop(label, None)
                held |= handle.mounts.pop(label, None) is not None
        return held

    def let_go(self, only: str | None = None) -> list[str]:
        """Drop what can be spared, or of that the adapter `only`, from memory; the labels.

        Attaching or comparing reads it again.
        """
        gone = []
        for handle in self._handles:
            labels = self.spared(handle) if only is None else {only} & self.spared(handle)
            gone += sorted(labels)
            for label in labels:
                del handle.mounts[label]
        return gone

    def spared(self, handle: Handle) -> set[str]:
        """Labels of adapters in memory that the shelf has, and that nothing is attached of.

        None while another thread uses the model: it may need them.
        """
        if handle.turn.is_others:
            return set()
        shelved = {record.label for record in self.shelf.records()} - self.unsaved.labels
        return shelved & set(handle.mounts) - {handle.attached, *handle.adopted}

    def _drop_pruned(self, handle: Handle, name: str) -> None:
        """Mounts whose version the shelf has pruned go too, but for the one that is attached."""
        kept = {r.label for r in self.records()} | {handle.attached, *handle.adopted}
        for label in [m for m in handle.mounts if m not in kept]:
            del handle.mounts[label]


def _absolute(folder: str) -> Path:
    return Path(folder).expanduser().absolute()


def _forget(session: weakref.ref[Session], handle: weakref.ref[Handle]) -> None:
    """A model is gone: its mounts, which hold the rest of its weights, go too."""
    owner = session()
    if owner is not None:
        owner._handles = [h for h in owner._handles if h is not handle()]
