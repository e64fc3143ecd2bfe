"""What chains have in common: their checks, what they keep, and the runs of their stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from nbpeft.bindings import Bindings
from nbpeft.chains import stages
from nbpeft.chains.kept import Kept
from nbpeft.errors import DataError, Stopped
from nbpeft.events import Events
from nbpeft.prepare import Prepared, prepare
from nbpeft.request import Request
from nbpeft.run import Run
from nbpeft.run import run as run_one
from nbpeft.session.session import Session
from nbpeft.stop import Stop


@dataclasses.dataclass(frozen=True)
class Staged:
    """A chain of stages, of which each is done once."""

    request: Request
    session: Session
    bindings: Bindings
    events: Callable[[], Events]
    """Makes the listeners of one run."""
    kept: Kept

    def run(self) -> Run:
        """Stage by stage; what is done already isn't redone."""
        raise NotImplementedError

    def prepared(self, **bindings: Any) -> Prepared:
        """The whole chain, checked; nothing is changed by it."""
        before = f"{self.request.name} was stopped before it began; nothing is changed."
        with Stop() as stop:
            try:
                with stop.interruptible(at_once=True):
                    asked = dataclasses.replace(self.request, resume=False)
                    return prepare(
                        asked, self.session, dataclasses.replace(self.bindings, **bindings)
                    )
            except KeyboardInterrupt:
                raise Stopped(before) from None

    def begin(self, fingerprint: str) -> None:
        """Anew, or where it was stopped; DataError where that was of other prompts."""
        if not self.request.resume:
            self.kept.begin(self.request.to_dict(), fingerprint)
        elif self.kept.state()["fingerprint"] != fingerprint:
            raise DataError(
                f"The prompts are not those that {self.request.name} began with: --resume needs "
                "the same. Give them, or begin anew without --resume."
            )

    def trained(self, request: Request, bindings: Bindings) -> Run:
        """Train a stage; where it was stopped before, to its end."""
        goes_on = self.request.resume and stages.stopped(self.session, request.name)
        asked = dataclasses.replace(request, resume=goes_on)
        return run_one(asked, self.session, bindings, self.events())


def seed_of(ready: Prepared) -> int:
    """Of the run."""
    return int(ready.settings.trainer.get("seed", 42))


def give(variables: Mapping[str, Any], name: str, rows: list[dict[str, Any]]) -> None:
    """Let a variable of the kernel hold the rows, so that they can be looked at and used."""
    if isinstance(variables, MutableMapping):
        variables["".join(c if c.isalnum() else "_" for c in name)] = rows
