"""What texts are worth, or what they are labelled: shown as a table, and as a DataFrame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nbpeft.rendering import Table, count, percent

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 50
"""Rows of a table."""


class Result(Protocol):
    """What scoring gives."""

    def table(self) -> Table:
        """What is shown."""

    def to_pandas(self) -> pd.DataFrame:
        """All of it."""


class _Tabled:
    """Shows itself as its table."""

    def table(self) -> Table:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


@dataclass(frozen=True, repr=False)
class Scores(_Tabled):
    """A score a text, higher for a better one."""

    name: str
    texts: tuple[str, ...]
    scores: tuple[float, ...]

    def to_pandas(self) -> pd.DataFrame:
        """Columns text and score."""
        import pandas as pd

        return pd.DataFrame({"text": self.texts, "score": self.scores})

    def table(self) -> Table:
        """In the order that they were given."""
        rows = [(text, f"{score:.3f}") for text, score in zip(self.texts, self.scores, strict=True)]
        return _table(f"scores by {self.name}", ("text", "score"), rows)


@dataclass(frozen=True, repr=False)
class Pairs(_Tabled):
    """The scores of two answers to a prompt, side by side."""

    name: str
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    chosen_scores: tuple[float, ...]
    rejected_scores: tuple[float, ...]

    @property
    def margins(self) -> tuple[float, ...]:
        """How much more the chosen answers are worth."""
        both = zip(self.chosen_scores, self.rejected_scores, strict=True)
        return tuple(one - other for one, other in both)

    @property
    def accuracy(self) -> float:
        """The share of pairs whose chosen answer has the higher score."""
        return sum(margin > 0 for margin in self.margins) / max(1, len(self.margins))

    def to_pandas(self) -> pd.DataFrame:
        """Columns chosen, rejected, chosen_score, rejected_score and margin."""
        import pandas as pd

        return pd.DataFrame(
            {
                "chosen": self.chosen,
                "rejected": self.rejected,
                "chosen_score": self.chosen_scores,
                "rejected_score": self.rejected_scores,
                "margin": self.margins,
            }
        )

    def table(self) -> Table:
        """With the answer that has the higher score."""
        rows = [
            (one, other, f"{a:.3f}", f"{b:.3f}", f"{a - b:+.3f}", _winner(a - b))
            for one, other, a, b in zip(
                self.chosen, self.rejected, self.chosen_scores, self.rejected_scores, strict=True
            )
        ]
        right = sum(margin > 0 for margin in self.margins)
        return _table(
            f"pairs by {self.name}",
            ("chosen", "rejected", "score", "score", "margin", "higher"),
            rows,
            f"the chosen answer is scored higher in {count(right)} of {count(len(rows))} pairs "
            f"({percent(100 * self.accuracy)})",
        )


@dataclass(frozen=True, repr=False)
class Predictions(_Tabled):
    """Of each text the likeliest label, and how likely every label is."""

    name: str
    texts: tuple[str, ...]
    names: tuple[str, ...]
    """Of the labels."""
    probabilities: tuple[tuple[float, ...], ...]
    """A row a text, in the order of `names`."""
    expected: tuple[str, ...] | None = None
    """The data's own labels."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The likeliest."""
        return tuple(self.names[max(range(len(p)), key=p.__getitem__)] for p in self.probabilities)

    @property
    def accuracy(self) -> float | None:
        """The share of texts with the data's own label; None where the data have none."""
        if self.expected is None:
            return None
        hits = sum(one == other for one, other in zip(self.labels, self.expected, strict=True))
        return hits / max(1, len(self.texts))

    def to_pandas(self) -> pd.DataFrame:
        """Columns text, label, expected where the data have labels, and a probability a label."""
        import pandas as pd

        own = {} if self.expected is None else {"expected": self.expected}
        shares = zip(self.names, zip(*self.probabilities, strict=True), strict=True)
        return pd.DataFrame({"text": self.texts, "label": self.labels, **own} | dict(shares))

    def table(self) -> Table:
        """With the probability of the label."""
        own = (None,) * len(self.texts) if self.expected is None else self.expected
        rows = [
            (text, label, *([] if right is None else [right]), percent(100 * max(shares)))
            for text, label, right, shares in zip(
                self.texts, self.labels, own, self.probabilities, strict=True
            )
        ]
        header = ("text", "label", *(["in the data"] if self.expected else []), "probability")
        note = "" if self.accuracy is None else f"{percent(100 * self.accuracy)} as in the data"
        return _table(f"labels by {self.name}", header, rows, note)


def _winner(margin: float) -> str:
    return "chosen" if margin > 0 else "rejected" if margin < 0 else "neither"


def _table(title: str, header: tuple[str, ...], rows: list[Any], note: str = "") -> Table:
    more = len(rows) - SHOWN
    notes = [note] if note else []
    if more > 0:
        notes.append(f"{count(more)} rows more: .to_pandas() has them all")
    right = {"score", "margin", "probability"}
    return Table(
        title=title,
        header=header,
        rows=tuple(tuple(row) for row in rows[:SHOWN]),
        align=tuple("right" if word in right else "left" for word in header),
        notes=tuple(notes),
    )
