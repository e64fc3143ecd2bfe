"""What came of a merge: where the model lies, and how far it answers from the adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbpeft.errors import quoted
from nbpeft.rendering import Table, bytes_size, count, nats, percent


@dataclass(frozen=True)
class Drift:
    """How far a merged model answers from the adapter on the base that it was trained on."""

    kl: float
    """Mean Kullback-Leibler divergence of the merged model's next token from the adapter's, nats a
    token."""
    changed: float
    """Share (0 to 1) of positions whose likeliest token is another."""
    base: float
    """The same divergence of the weights that were merged into, without the adapter."""
    positions: int
    """Over so many tokens."""
    of: str
    """Of which texts."""


@dataclass(frozen=True)
class Merged:
    """One merged model; shows itself as a table."""

    adapter: str
    """NAME@VERSION."""
    path: Path
    into: str
    """originals, nf4, fp4 or int8."""
    trained_on: str
    """The precision of the base that the adapter was trained on."""
    drift: Drift | None
    """None of a model that gives no tokens."""
    size: int
    """Bytes of the folder."""
    with_tokenizer: bool
    notes: tuple[str, ...] = ()
    """What the user should know of it."""

    def line(self) -> str:
        """All of it in one line."""
        where = f"{self.adapter} into {self.into}: {quoted(str(self.path), 200)}"
        return "; ".join([f"{where}, {bytes_size(self.size)}", self._drift(), *self.notes])

    def _drift(self) -> str:
        if self.drift is None:
            return "the model gives no tokens, so that no drift is measured"
        return (
            f"drift from the adapter on the base {self.trained_on}: {_nats(self.drift.kl)} nats a "
            f"token (KL; without the adapter {_nats(self.drift.base)}), another likeliest token at "
            f"{percent(100 * self.drift.changed)} of {count(self.drift.positions)}"
        )

    def table(self) -> Table:
        """The figures."""
        rows = [
            ("folder", str(self.path)),
            ("size", bytes_size(self.size)),
            ("merged into", self.into),
            ("trained on", self.trained_on),
            ("tokenizer", "saved beside" if self.with_tokenizer else "not saved, none is known"),
        ]
        if self.drift is not None:
            rows += [
                ("drift (KL)", f"{_nats(self.drift.kl)} nats a token"),
                ("without the adapter", f"{_nats(self.drift.base)} nats a token"),
                ("likeliest token differs", f"{percent(100 * self.drift.changed)} of "
                 f"{count(self.drift.positions)} tokens"),
                ("measured on", self.drift.of),
            ]  # fmt: skip
        return Table(f"{self.adapter}: merged", ("", ""), tuple(rows), notes=self.notes)

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def _nats(divergence: float) -> str:
    """Below what rounding alone gives in half precision it is none."""
    return nats(divergence) if divergence >= 1e-6 else "0"
