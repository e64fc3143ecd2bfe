"""An adapter under another name: on the shelf, in memory, and where others tell of it."""

from __future__ import annotations

from nbpeft.chains.kept import FOLDER, STATE
from nbpeft.chains.stages import LABELS_SUFFIX, SFT_SUFFIX
from nbpeft.errors import AdapterError, quoted
from nbpeft.session.moving import is_free
from nbpeft.session.moving import rename as rename_on_shelf
from nbpeft.session.names import check_name
from nbpeft.session.session import Session
from nbpeft.upkeep.finding import adopted, own


def rename(session: Session, name: str, to: str) -> dict[str, str]:
    """Call an adapter, with all its versions, something else; what is attached stays attached.

    What a chain trained beside it (NAME-sft, NAME-labels) goes with it, and the records of adapters
    that went on from it have the new name. Returns the new name of each that has one.

    Raises:
        AdapterError: a name that isn't there, isn't nbpeft's or is taken; nothing is changed then.
    """
    name, version = own(session, name, "renamed")
    if version is not None:
        raise AdapterError(
            f"{name}@{version} is a version of {name}, and a name is that of all versions; rename "
            f"{name}."
        )
    names = {name: check_name(to)}
    names |= {name + end: check_name(to + end) for end in _of_chain(session, name)}
    for new in names.values():
        _refuse_taken(session, new)
    shelved = {old: new for old, new in names.items() if not is_free(session.shelf, old)}
    if shelved:
        rename_on_shelf(session.shelf, shelved)
    session.relabel(names)
    return names


def _of_chain(session: Session, name: str) -> list[str]:
    """The ends of the names of what a chain of this name trained beside it."""
    folder = session.shelf.folder
    if not (folder / name / FOLDER / STATE).is_file():
        return []
    there = {record.name for record in session.records()}
    return [end for end in (SFT_SUFFIX, LABELS_SUFFIX) if name + end in there]


def _refuse_taken(session: Session, name: str) -> None:
    taken = {*adopted(session), *(record.name for record in session.records())}
    if name in taken:
        raise AdapterError(f"There is an adapter {quoted(name)} already; give another name.")
    if not is_free(session.shelf, name):
        raise AdapterError(
            f"There is something at {quoted(str(session.shelf.folder / name), 200)} already; give "
            "another name."
        )
