"""What an objective finds in the kernel beside its rows: rewards and judges, by their names."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError
from nbpeft.feedback import Surroundings
from nbpeft.objectives import Objective, objectives
from nbpeft.request import Request, options, typed
from nbpeft.session.models import Handle
from nbpeft.session.record import Record
from nbpeft.session.session import Session
from nbpeft.settings import Settings

if TYPE_CHECKING:
    from nbpeft.bindings import Bindings


def refuse_signals(request: Request, objective: Objective) -> None:
    """Refuse what says what to learn from, where the objective doesn't take it."""
    for option in options():
        word = typed(option.name)
        given = option.metadata["signal"] and getattr(request, option.name) is not None
        if given and word not in objective.takes:
            takers = [other.name for other in objectives if word in other.takes]
            raise RequestError(
                f"{objective.name} takes no {word}: leave it out, or type --objective "
                f"{' or '.join(takers)}."
            )


def surroundings(  # noqa: PLR0917  what preparing a run has come to
    request: Request,
    bindings: Bindings,
    session: Session,
    handle: Handle,
    tokenizer: Any,
    state: str,
    settings: Settings,
) -> Surroundings:
    """Where a run takes place.

    Args:
        state: the precision that the base is trained on.
    """
    return Surroundings(
        request=request,
        session=session,
        handle=handle,
        tokenizer=tokenizer,
        state=state,
        variables=bindings.namespace,
        live=bindings.signals,
        rater=functools.partial(_rater, session, handle, tokenizer),
        settings=settings.trainer,
    )


def _rater(session: Session, handle: Handle, tokenizer: Any, record: Record) -> Any:
    from nbpeft.scoring import Rater

    return Rater(session, handle, record, tokenizer)
