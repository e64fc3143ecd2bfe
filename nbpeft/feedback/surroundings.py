"""What of the kernel an objective may ask for beside its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbpeft.feedback.adapters import Rates
    from nbpeft.request import Request
    from nbpeft.session.models import Handle
    from nbpeft.session.record import Record
    from nbpeft.session.session import Session


@dataclass(frozen=True)
class Surroundings:
    """Where a run takes place, before it begins."""

    request: Request
    session: Session
    handle: Handle
    tokenizer: Any
    state: str
    """The precision that the base is trained on."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """The kernel's."""
    live: Mapping[str, Any] = field(default_factory=dict)
    """Option -> the object that a Python call gave for it."""
    rater: Callable[[Record], Rates] | None = None
    """What scores texts as a reward adapter does."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the trainer's config that were set."""
