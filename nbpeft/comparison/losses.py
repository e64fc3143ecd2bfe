"""The loss of several adapters on the same rows: what was learned, and what was forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.errors import DataError
from nbpeft.quiet import quiet
from nbpeft.rendering import Table, nats
from nbpeft.session.models import Handle
from nbpeft.session.session import Session

if TYPE_CHECKING:
    from nbpeft.data import Rows

BATCH = 8
Collate = Callable[[list[dict[str, Any]]], dict[str, Any]]


class Losses(dict[str, float]):
    """Name -> loss in nats a trained token, over all tokens alike; shows itself as a table."""

    def table(self) -> Table:
        """One row a name."""
        return Table(
            title="loss",
            header=("", "nats a token"),
            rows=tuple((name, nats(loss)) for name, loss in self.items()),
            align=("left", "right"),
        )

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def losses(
    session: Session,
    handle: Handle,
    names: Sequence[str],
    rows: Rows,
    collate: Collate,
) -> Losses:
    """The loss of each name on tokenized rows, in eval mode; the model is left as it was.

    Args:
        collate: rows as a batch that the model takes, with `labels` (rows, tokens).

    Raises:
        AdapterError: a name that isn't there.
        DataError: no row is left.
    """
    if not len(rows.train):
        raise DataError("There are no rows to read.")
    # An unknown name is refused here, before anything is read.
    groups = session.by_precision(handle, names)
    # By length, so that a batch holds little padding.
    order = sorted(range(len(rows.train)), key=lambda i: len(rows.train[i]["input_ids"]))
    batches = [
        collate([rows.train[i] for i in order[start : start + BATCH]])
        for start in range(0, len(order), BATCH)
    ]
    found: dict[str, float] = {}
    for state, group in groups.items():
        with quiet(), handle.bare(state):
            for name in group:
                with session.answering_as(handle.root, name) as model:
                    found[name] = _loss(model, batches)
    return Losses({name: found[name] for name in names})


def _loss(model: Any, batches: Sequence[dict[str, Any]]) -> float:
    import torch

    device = next(model.parameters()).device
    total, tokens = 0.0, 0
    with torch.inference_mode():
        for batch in batches:
            # A decoder predicts each label from the one before: the first from nothing.
            first = 0 if model.config.is_encoder_decoder else 1
            count = int((batch["labels"][:, first:] != -100).sum())
            output = model(**{name: value.to(device) for name, value in batch.items()})
            total += float(output.loss) * count
            tokens += count
    return total / max(1, tokens)
