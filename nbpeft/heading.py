"""Heads over pooled features in a run: which one it trains, beside which adapter.

Where the method is a head itself, its outputs follow from the rows; any other gets a head of one
layer beside its mount.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import architecture_of
from nbpeft.errors import RequestError, listed
from nbpeft.methods import Method
from nbpeft.mounts import Mount, Outputs, Survey
from nbpeft.objectives._fitted import iterations
from nbpeft.session.record import Record
from nbpeft.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


FITTED = (
    "one layer over features that stay as they are: these are computed once, and scikit-learn's "
    "logistic regression fits it, in as many iterations at most as there are steps; epochs, "
    "batch_size and learning_rate are not used"
)


@dataclass(frozen=True)
class Trained:
    """What a run trains, with the head that its objective wants."""

    outputs: Outputs | None
    """What the head gives; None where none is trained."""
    settings: Settings
    survey: Survey
    iterations: int | None
    """The most that fitting a head at once takes; None where it is trained in steps."""
    notes: tuple[str, ...]
    """Lines for the plan."""


def trained(
    method: Method,
    root: nn.Module,
    settings: Settings,
    outputs: Outputs | None,
    parent: Record | None,
) -> Trained:
    """Check and count what is trained; nothing is allocated.

    Raises:
        RequestError: settings, or the adapter that the run goes on from, give something else.
    """
    _check_parent(parent, method, outputs)
    settings = _settled(settings, method, outputs)
    survey = _surveyed(method, root, settings.method, outputs)
    at_once = outputs is not None and is_head(method) and not settings.method.get("sizes")
    return Trained(
        outputs=outputs,
        settings=settings,
        survey=survey,
        iterations=iterations(settings.trainer) if at_once else None,
        notes=((FITTED,) if at_once else ()) + (() if outputs is None else _own_head(root)),
    )


def _own_head(root: nn.Module) -> tuple[str, ...]:
    """Of a body that somebody put a head on: that this one stays as it is."""
    if architecture_of(root) != "encoder":
        return ()
    from nbpeft.mounts.heads import body_of

    body = body_of(root)
    own = [name for name, part in root.named_children() if any(True for _ in part.parameters())]
    if body is root or len(own) < 2:
        return ()
    names = listed(name for name in own if root.get_submodule(name) is not body)
    return (
        f"{type(root).__name__}'s own head ({names}) is not used: one is trained over the features "
        "of its body",
    )


def is_head(method: Method) -> bool:
    """Whether what the method trains is a head, and no adapter to put one beside."""
    return "pooled features" in method.needs


def _settled(settings: Settings, method: Method, outputs: Outputs | None) -> Settings:
    """The settings with the outputs of the head that the method is.

    Raises:
        RequestError: others were given.
    """
    if outputs is None or not is_head(method):
        return settings
    own = {"labels": outputs.count, "names": list(outputs.names)}
    for setting in settings.shown:
        if setting.name in own and setting.value != own[setting.name]:
            what = listed(outputs.names) if outputs.names else "one score"
            raise RequestError(
                f"{setting.name} can't be {setting.value}: the rows come to {what}; leave it out."
            )
    return replace(settings, method=settings.method | own)


def _surveyed(
    method: Method, root: nn.Module, settings: Mapping[str, Any], outputs: Outputs | None
) -> Survey:
    """What is trained, counted; nothing is allocated."""
    import torch

    survey = method.survey(root, settings)
    if outputs is None or is_head(method):
        return survey
    from nbpeft.mounts import headed, heads

    with torch.device("meta"):
        head = heads.build(root, headed.config_of(root, outputs))
    return replace(
        survey,
        trainable_parameters=survey.trainable_parameters + head.trainable_parameters,
        extra_bytes=survey.extra_bytes + head.extra_bytes,
    )


def with_head(
    method: Method,
    mount: Mount,
    root: nn.Module,
    outputs: Outputs | None,
    before: Path | None = None,
) -> Mount:
    """The mount with its head beside it: that of the adapter before, where it gives the same.

    Args:
        before: the folder of the adapter that the run goes on from.
    """
    if outputs is None or is_head(method):
        return mount
    from nbpeft.mounts import headed

    if before is not None:
        earlier = headed.joined(mount, root, before)
        _, head = headed.parted(earlier)
        if head is not None and gives(head.config) == outputs:
            return earlier
    return headed.beside(mount, root, outputs)


def gives(config: Mapping[str, Any]) -> Outputs:
    """What a head of that config gives."""
    return Outputs(config["labels"], tuple(config["names"]))


def _check_parent(parent: Record | None, method: Method, outputs: Outputs | None) -> None:
    """Refuse to go on from a head that gives something else."""
    if parent is None or outputs is None or not is_head(method):
        return
    own = parent.settings["method"]
    if (own["labels"], tuple(own.get("names", ()))) != (outputs.count, outputs.names):
        raise RequestError(
            f"{parent.label} tells apart {_told(own.get('names', ()))}, and these rows come to "
            f"{_told(outputs.names)}: leave --from out to train a head of its own."
        )


def _told(names: Any) -> str:
    return listed(names) if names else "no labels"
