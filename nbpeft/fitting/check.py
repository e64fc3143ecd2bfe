"""The check before every run: will it fit? Refused, changed (`--auto`) or noted where it won't."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nbpeft.errors import NbPeftError, RunError
from nbpeft.fitting.forecast import Step, forecast, kept_beside
from nbpeft.fitting.verdict import Fit
from nbpeft.rendering import bytes_size
from nbpeft.room import free_memory

if TYPE_CHECKING:
    from nbpeft.prepare import Prepared


def measured(ready: Prepared, *, remedies: bool = True) -> Fit:
    """Whether a prepared run fits; nothing is changed and nothing allocated.

    Args:
        remedies: whether to look what would fit where it doesn't, which takes a trace for each.

    Raises:
        RunError: an operation can't be traced.
    """
    try:
        return _measured(ready, remedies=remedies)
    except NbPeftError:
        raise
    except Exception as error:  # whatever torch or a model raises without values
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise RunError(
            f"its memory can't be predicted ({type(error).__name__}: {reason})"
        ) from error


def _measured(ready: Prepared, *, remedies: bool) -> Fit:
    from nbpeft.fitting.batch import lengths
    from nbpeft.fitting.remedies import remedy_for
    from nbpeft.fitting.skeleton import bytes_of

    step = step_of(ready)
    device = next(ready.handle.root.parameters()).device
    fit = Fit(
        name=ready.request.name,
        traced=forecast(step),
        held=sum(bytes_of(ready.handle.root).values()) + ready.handle.precision.kept,
        free=free_memory(device),
        device=str(device),
        batch_size=step.batch_size,
        length=int(lengths(ready.rows.train).max()),
    )
    if not fit.fits and fit.traced.copies:
        step = dataclasses.replace(step, lean=True)
        fit = dataclasses.replace(fit, traced=forecast(step), lean=True)
    if fit.fits or not remedies or ready.resumed is not None:  # it is finished as it was begun
        return fit
    return dataclasses.replace(fit, remedy=remedy_for(step, fit))


def step_of(ready: Prepared) -> Step:
    """What the run's memory follows from."""
    return Step(
        handle=ready.handle,
        state=ready.plan.state,
        method=ready.method,
        objective=ready.objective,
        tokenizer=ready.tokenizer,
        of_method=ready.settings.method,
        of_trainer=ready.settings.trainer,
        rows=ready.rows,
        outputs=ready.outputs,
        extra_bytes=ready.plan.extra_bytes,
        beside=kept_beside(ready.handle, ready.plan.state, in_place=ready.request.in_place),
    )


def checked(ready: Prepared) -> tuple[Prepared, Fit | None]:
    """The run with its memory in the plan; and the check's outcome where it does not fit.

    A run whose memory can't be predicted goes on, and its plan says so.

    Raises:
        RunError: it doesn't fit, and `--auto` isn't given, or nothing would help.
    """
    request = ready.request
    if request.fit == "off":
        return ready, None
    try:
        fit = measured(ready)
    except RunError as error:
        return noted(ready, str(error)), None
    plan = dataclasses.replace(ready.plan, memory=fit.memory)
    ready = dataclasses.replace(ready, plan=plan, lean=fit.lean)
    if fit.fits:
        return noted(ready, *_notes(fit)), None
    if request.dry_run:
        return noted(ready, fit.line), None
    if not request.auto or fit.remedy is None:
        raise RunError(fit.line)
    return ready, fit


def noted(ready: Prepared, *notes: str) -> Prepared:
    """The same with more lines in its plan."""
    plan = dataclasses.replace(ready.plan, notes=(*ready.plan.notes, *notes))
    return dataclasses.replace(ready, plan=plan)


def _notes(fit: Fit) -> list[str]:
    notes = []
    if fit.lean:
        notes.append(
            "no copy of the weights in bf16 is made, which would be faster: it doesn't fit"
        )
    if fit.close:
        left = bytes_size(fit.free - fit.needed)
        notes.append(
            f"memory will be short: about {left} of {bytes_size(fit.free)} is left over at the peak"
        )
    return notes
