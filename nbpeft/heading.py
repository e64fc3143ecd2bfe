"""Heads over pooled features in a run: which one it trains, beside which adapter.

Where the method is a head itself, its outputs follow from the rows; any other gets a head of one
layer beside its mount.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, listed
from nbpeft.methods import Method
from nbpeft.mounts import Mount, Outputs, Survey
from nbpeft.session.record import Record
from nbpeft.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def is_head(method: Method) -> bool:
    """Whether what the method trains is a head, and no adapter to put one beside."""
    return "pooled features" in method.needs


def settled(settings: Settings, method: Method, outputs: Outputs | None) -> Settings:
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


def surveyed(
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


def check_parent(parent: Record | None, method: Method, outputs: Outputs | None) -> None:
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
