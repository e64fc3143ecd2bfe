"""An adapter that is set up and not trained: the user's own loop, or Trainer, does that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nbpeft.config import settings as configured
from nbpeft.errors import ModelError
from nbpeft.guard import random_state, restore_random_state
from nbpeft.methods import Material, Method, methods
from nbpeft.plan import Weights
from nbpeft.precision.trap import keep_trainable
from nbpeft.recording import library_versions
from nbpeft.rendering import Table, bytes_size, count, percent
from nbpeft.rendering.plans import weights_text
from nbpeft.session.models import Handle
from nbpeft.session.names import check_name
from nbpeft.session.record import Record
from nbpeft.session.session import Session
from nbpeft.settings import of_method
from nbpeft.standing import counting, standing, wanted

OBJECTIVE = "by hand"
"""What a record has for its objective where no run trained it."""


@dataclass(frozen=True)
class Sizes:
    """What a method would train on a model, nothing made."""

    name: str
    method: str
    trainable_parameters: int
    total_parameters: int
    """Of the base."""
    extra_bytes: int
    targets: tuple[str, ...]
    state: str
    """The precision of the base that it would stand on."""
    weights: Weights | None
    """Where that is quantized: bytes of the base's weights before and after."""

    @property
    def trainable_percent(self) -> float:
        """Trainable parameters in per cent of the base's."""
        return 100 * self.trainable_parameters / max(1, self.total_parameters)

    def table(self) -> Table:
        """The figures."""
        return Table(
            title=f"{self.name}: {self.method}, nothing is set up",
            header=("", ""),
            rows=(
                ("trainable parameters", f"{count(self.trainable_parameters)}"),
                ("of the base's", f"{percent(self.trainable_percent)} of "
                 f"{count(self.total_parameters)}"),
                ("extra memory", bytes_size(self.extra_bytes)),
                ("places", count(len(self.targets))),
                *([("base weights", weights_text(self.weights, self.state))]
                  if self.weights else []),
            ),
        )  # fmt: skip

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def sizes(
    handle: Handle,
    name: str,
    method_name: str,
    words: Mapping[str, Any],
    quantize: str | None = None,
) -> Sizes:
    """Count what `set_up` would make; nothing is allocated, and the model may be on meta."""
    check_name(name)
    method, settings = chosen(method_name, words)
    state = wanted(handle, method, quantize, None)
    with counting(handle, state):
        stands = standing(handle, method, settings, state)
        survey = method.survey(handle.root, settings)
    return Sizes(
        name,
        method.name,
        survey.trainable_parameters,
        handle.total_parameters,
        survey.extra_bytes,
        survey.targets,
        stands.state,
        stands.weights,
    )


def set_up(
    session: Session,
    handle: Handle,
    name: str,
    method_name: str,
    words: Mapping[str, Any],
    *,
    tokenizer: Any = None,
    quantize: str | None = None,
    in_place: bool = False,
) -> Record:
    """Make an untrained adapter, to be attached and trained by the user's own code.

    Its weights come from the current random state, which is left as it was. The record is in this
    kernel only, until `nbpeft.save(name)`.

    Raises:
        RequestError: there is no such method, or one of its settings can't be.
        ModelError: the model has no weights (it lies on the meta device).
    """
    check_name(name)
    method, settings = chosen(method_name, words)
    root = handle.root
    if any(p.is_meta for p in root.parameters()):
        raise ModelError(
            "The model lies on the meta device and has no weights: only --dry-run works on it."
        )
    random = random_state()
    try:
        state = wanted(handle, method, quantize, None)
        with counting(handle, state):
            stands = standing(handle, method, settings, state, in_place=in_place)
        with handle.bare(stands.state, in_place=in_place):
            keep_trainable(root)
            survey = method.survey(root, settings)
            mount = method.mount(root, settings, Material(tokenizer))
    finally:
        restore_random_state(random)
    record = Record(
        name=name,
        version=session.next_version(name),
        method=method.name,
        objective=OBJECTIVE,
        model=handle.fingerprint,
        trainable_parameters=survey.trainable_parameters,
        total_parameters=handle.total_parameters,
        settings={"method": settings},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=library_versions(),
        state=stands.state,
    )
    return session.keep_unsaved(handle, record, mount)


def chosen(method_name: str, words: Mapping[str, Any]) -> tuple[Method, dict[str, Any]]:
    """A method and the fields of its config; RequestError for a name or a setting that can't be."""
    method = methods.get(method_name)
    return method, of_method(method, words, configured().defaults)
