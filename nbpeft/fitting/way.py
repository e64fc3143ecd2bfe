"""Which way a run's batches will go: packed, padded or plain, known without its adapter.

A run tries that out on the model with its adapter in. Beforehand it is tried on the bare base, once
a model, which takes a few short forward passes; what an adapter changes of it shows in its kind.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nbpeft.guard import Guard
from nbpeft.precision.trap import biases_kept, trainable
from nbpeft.quiet import quiet

if TYPE_CHECKING:
    from nbpeft.seam.probe import Choice
    from nbpeft.session.models import Handle

_known: dict[tuple[str, str, int | None], Choice] = {}
"""By the model's fingerprint and precision, and the rows' length; without the model itself."""


def way_of(handle: Handle, state: str, longest: int | None) -> Choice:
    """What trying the bare base came to; the scorer's head is by its settings alone.

    Args:
        state: the precision that it will have.
        longest: tokens of the longest row that the run may hold.
    """
    from nbpeft.seam.probe import filler_of

    key = handle.fingerprint, handle.precision.now, longest
    if key not in _known:
        _known[key] = _tried(handle, longest)
    choice = _known[key]
    if state == "int8" != handle.precision.now and choice.way == "packed":
        # Columns with outliers are picked over all rows at once, so that packed ones may differ.
        return dataclasses.replace(choice, way="padded", filler=filler_of(handle.root))
    return choice


def _tried(handle: Handle, longest: int | None) -> Choice:
    from nbpeft.seam.probe import choose

    with handle.bare(), Guard(handle.root), quiet(), trainable(handle.root):
        for parameter in handle.root.parameters():
            parameter.requires_grad_(False)  # no gradient is needed to tell
        with biases_kept(handle.root):
            return _without(choose(handle.root, longest=longest))


def _without(choice: Choice) -> Choice:
    """The choice without the model that it was made on."""
    from torch import nn

    from nbpeft.seam.attention import Attention
    from nbpeft.seam.scores import Scorer

    if choice.scorer is None:
        return choice
    nothing = nn.Identity()
    head = dataclasses.replace(choice.scorer.head, body=nothing, lm_head=nothing)
    return dataclasses.replace(choice, scorer=Scorer(head, Attention(nothing)))
