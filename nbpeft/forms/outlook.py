"""What a request would come to: its plan, its memory, and the tokens that it would train on.

Nothing is changed by it. Rows are read and tokenized once for as long as what they follow from
stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.bindings import Bindings
from nbpeft.config import settings as configured
from nbpeft.errors import NbPeftError, RunError
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.prepare import Prepared, prepare
from nbpeft.request import Request
from nbpeft.settings import Layer, Settings, resolve

if TYPE_CHECKING:
    from nbpeft.data.looking.look import Look
    from nbpeft.session.session import Session

SHOWN = 2
"""Rows of the data that are shown token by token."""
REMEMBERED = 4


@dataclass(frozen=True)
class Outlook:
    """A request, prepared; or why that can't be."""

    request: Request
    ready: Prepared | None = None
    problem: NbPeftError | None = None

    settings: Settings | None = None
    """What would be set, as far as the request itself says."""


class Looker:
    """Looks at one request after the other, and remembers what it needn't do again."""

    def __init__(self, session: Session, bindings: Callable[[], Bindings]) -> None:
        self._session = session
        self._bindings = bindings
        self._rows: dict[str, Any] = {}
        self._looks: dict[str, Look] = {}

    def outlook(self, request: Request) -> Outlook:
        """The plan of the run that is asked for."""
        bindings = dataclasses.replace(self._bindings(), remembered=self._rows)
        try:
            ready = prepare(request, self._session, bindings)
        except NbPeftError as error:
            return Outlook(request, problem=error, settings=_settings(request))
        finally:
            _forget(self._rows)
        return Outlook(request, ready, settings=ready.settings)

    def with_memory(self, outlook: Outlook) -> Outlook:
        """The same, its memory in the plan; a problem where it doesn't fit."""
        from nbpeft.fitting.check import measured

        ready = outlook.ready
        assert ready is not None
        try:
            fit = measured(ready, remedies=False)
        except NbPeftError as error:  # it may run all the same
            notes = (*ready.plan.notes, str(error))
            plan = dataclasses.replace(ready.plan, notes=notes)
            return dataclasses.replace(outlook, ready=dataclasses.replace(ready, plan=plan))
        plan = dataclasses.replace(ready.plan, memory=fit.memory)
        problem = None
        if not fit.fits and outlook.request.fit == "check":
            problem = RunError(f"{fit.shortage}; %peft_fit with the same words says what fits.")
        ready = dataclasses.replace(ready, plan=plan)
        return dataclasses.replace(outlook, ready=ready, problem=problem)

    def look(self, ready: Prepared) -> Look:
        """Some rows as tokens; NbPeftError where none can be shown."""
        request, trainer = ready.request, ready.settings.trainer
        key = repr((request.data, request.columns, request.loss_on, request.objective,
                    trainer["max_length"], ready.rows.fingerprint))  # fmt: skip
        if key not in self._looks:
            self._looks[key] = _look(ready, self._bindings())
            _forget(self._looks)
        return self._looks[key]


def _settings(request: Request) -> Settings | None:
    """The settings where the model, the rows or something else isn't there yet."""
    method, objective = methods.get(request.method), objectives.get(request.objective)
    try:
        return resolve(
            request, method, objective, configured=configured().defaults, own=Layer("nbpeft", {})
        )
    except NbPeftError:
        return None


def _look(ready: Prepared, bindings: Bindings) -> Look:
    from nbpeft.architectures import architecture_of
    from nbpeft.data import read_mix
    from nbpeft.data.looking.look import look
    from nbpeft.data.signals import signal_of

    request = ready.request
    given = bindings.data if bindings.data is not None else request.data
    return look(
        read_mix(given, bindings.namespace),
        ready.tokenizer,
        signal=signal_of(
            ready.objective.signal,
            loss_on=request.loss_on,
            apart=architecture_of(ready.handle.root) == "encoder-decoder",
        ),
        columns=request.columns,
        max_length=ready.settings.trainer["max_length"],
    )


def _forget(remembered: dict[str, Any]) -> None:
    """Keep the latest few."""
    while len(remembered) > REMEMBERED:
        remembered.pop(next(iter(remembered)))
