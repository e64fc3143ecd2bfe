"""Which adapter is meant, and whether it is nbpeft's to change."""

from __future__ import annotations

from nbpeft.errors import AdapterError, quoted
from nbpeft.session.derived import is_derived
from nbpeft.session.names import split_label
from nbpeft.session.session import BASE_WORDS, Session


def own(session: Session, label: str, what: str) -> tuple[str, int | None]:
    """NAME or NAME@VERSION of an adapter that is on the shelf or in this kernel.

    Args:
        what: what is to be done with it: 'renamed', say.

    Raises:
        AdapterError: it isn't there, or isn't nbpeft's.
    """
    if label.lower() in BASE_WORDS:
        raise AdapterError(f"{quoted(label)} is the model without an adapter, and can't be {what}.")
    if label in adopted(session):
        raise AdapterError(
            f"{quoted(label)} is an adapter of your own PeftModel, and can't be {what} here; what "
            f"nbpeft.save({label!r}) shelves can."
        )
    if is_derived(label):
        raise AdapterError(
            f"{quoted(label)} is made of others when it is asked for, and can't be {what}; give "
            f"it a name first: %peft_attach {quoted(label)[1:-1]} --as NAME."
        )
    name, version = split_label(label)
    here = [r for r in session.unsaved.of(name) if version in (None, r.version)]
    if not here and (version is not None or session.shelf.unfinished(name) is None):
        others = [*adopted(session), *(r.name for r in session.records())]
        session.shelf.get(label, others)  # says what there is
    return name, version


def adopted(session: Session) -> list[str]:
    """The names of adapters of the user's own PeftModels."""
    return [name for handle in session.handles for name in handle.adopted]
