"""An adapter that is there no more: off the shelf, and out of memory."""

from __future__ import annotations

from nbpeft.errors import AdapterError
from nbpeft.holding.letting_go import collect
from nbpeft.session.derived import CUT, SUM, is_derived
from nbpeft.session.moving import delete as delete_on_shelf
from nbpeft.session.moving import is_free
from nbpeft.session.session import Session
from nbpeft.upkeep.finding import own


def delete(session: Session, label: str) -> list[str]:
    """Delete an adapter with all its versions and what is kept beside, or one version alone.

    Those that went on from it keep loading: each holds all of its weights. Returns the labels of
    what is gone.

    Raises:
        AdapterError: a name that isn't there, isn't nbpeft's, or is attached; nothing is changed
            then.
    """
    name, version = own(session, label, "deleted")
    kept = [r.label for r in (*session.shelf.records(), *session.unsaved.of(name))]
    held = [label for handle in session.handles for label in handle.mounts.keys() - handle.adopted]
    gone = [label for label in dict.fromkeys([*kept, *held]) if _is_of(label, name, version)]
    attached = set(gone) & set(session.attached())
    if attached:
        raise AdapterError(f"{min(attached)} is attached; detach it first: %peft_attach --none.")
    here_only = version is not None and version in {r.version for r in session.unsaved.of(name)}
    if not here_only and not is_free(session.shelf, name):
        delete_on_shelf(session.shelf, name, version)
    if session.forget(gone):
        collect()
    return [label for label in gone if not is_derived(label)]


def _is_of(label: str, name: str, version: int | None) -> bool:
    """Whether a label is that of a version of NAME, or of this one, or of what is made of it."""
    for part in label.split(SUM):
        own, _, number = part.partition(CUT)[0].partition("@")
        if own == name and version in (None, int(number or 0)):
            return True
    return False
