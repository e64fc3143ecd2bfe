"""The list of adapters, as a mapping and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbpeft.precision import AS_LOADED
from nbpeft.rendering import Table, bytes_size, count, duration, nats, percent
from nbpeft.rendering.table import Align
from nbpeft.session.record import Record


class Adapters(dict[str, Record]):
    """name -> its newest record, NAME@VERSION -> an earlier one; shows itself as a table."""

    def __init__(
        self,
        records: Iterable[Record],
        attached: Iterable[str] = (),
        unfinished: Iterable[Record] = (),
    ) -> None:
        newest: dict[str, Record] = {}
        every = list(records)
        for record in every:
            kept = newest.setdefault(record.name, record)
            newest[record.name] = max(kept, record, key=lambda r: r.version)
        earlier = {r.label: r for r in every if newest[r.name] is not r}
        super().__init__({**newest, **earlier})
        self.attached = frozenset(attached)
        self.unfinished = tuple(unfinished)
        """Runs whose kernel was killed."""

    def table(self) -> Table:
        """One row an adapter and version."""
        rows = sorted(self.values(), key=lambda r: (r.name, -r.version))
        lineage = any(record.parent for record in rows)
        left: Align = "left"
        words = (left,) * (5 if lineage else 4)
        return Table(
            title=f"{count(len(rows))} adapter{'' if len(rows) == 1 else 's'}",
            header=(
                "name", "version", "method", "objective", *(["from"] if lineage else []),
                "parameters", "loss", "held-out loss", "time", "size", "attached",
            ),
            rows=tuple(self._row(record, lineage) for record in rows),
            align=(*words, "right", "right", "right", "right", "right", "left"),
            notes=self._notes(),
        )  # fmt: skip

    def _notes(self) -> tuple[str, ...]:
        unfinished = [
            f"{record.name}: a run that came to no end, kept at step {record.metrics['steps']:g}; "
            f"%finetune {record.name} --resume goes on with it"
            for record in self.unfinished
        ]
        if not self:
            return ("None yet: %%finetune NAME --data X makes one.", *unfinished)
        unlisted = sorted(self.attached - {record.label for record in self.values()})
        attached = [f"attached: {label}, which has no name of its own" for label in unlisted]
        return (*attached, *unfinished)

    def _row(self, record: Record, lineage: bool) -> tuple[str, ...]:
        metrics = record.metrics
        first = self[record.name] is record
        return (
            record.name if first else record.label,
            (str(record.version) if record.version else "")
            + (" (partial)" if record.partial else ""),
            record.method + (f" ({record.state})" if record.state != AS_LOADED else ""),
            record.objective,
            *([record.parent or ""] if lineage else []),
            f"{count(record.trainable_parameters)} ({percent(record.trainable_percent)})",
            nats(metrics["loss"]) if "loss" in metrics else "",
            nats(metrics["held_out_loss"]) if "held_out_loss" in metrics else "",
            duration(metrics["seconds"]) if "seconds" in metrics else "",
            bytes_size(record.size) if record.size else "not saved",
            "yes" if record.label in self.attached else "",
        )  # fmt: skip

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()
