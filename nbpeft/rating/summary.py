"""What is shown of a rating as a table: the card that is looked at, and what came of it all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from nbpeft.comparison import Prompt
from nbpeft.rating.deck import MARKS, Deck
from nbpeft.rating.ratings import Ratings, Row
from nbpeft.rendering import Table, count, plain


@dataclass
class Tally:
    """Of one adapter, over all that was rated."""

    ranked: int = 0
    """Cards in which its answer stood beside another adapter's,"""
    best: int = 0
    """and those of them in which nobody's was better."""
    marks: tuple[float, ...] = ()
    """1 to 5, where its answer stood alone."""


def tallies(rows: Iterable[Row]) -> dict[str, Tally]:
    """By adapter, in the order of their names."""
    found: dict[str, Tally] = {}
    for answers in _cards(rows):
        top = max(row["score"] for row in answers)
        rivals = len({row["adapter"] for row in answers}) > 1
        for row in answers:
            tally = found.setdefault(row["adapter"], Tally())
            if len(answers) == 1:
                tally.marks += (1 + row["score"] * (MARKS - 1),)
            elif rivals:
                tally.ranked += 1
                tally.best += row["score"] == top > 0  # of what is all bad nothing is the best
    return dict(sorted(found.items()))


def closing_table(
    ratings: Ratings, deck: Deck, name: str, path: str, notes: Sequence[str]
) -> Table:
    """Who came out how: shown when the cards are done, since it names the adapters."""
    found = tallies(ratings)
    columns = {
        "ranked first": [
            f"{count(t.best)} of {count(t.ranked)}" if t.ranked else "" for t in found.values()
        ],
        "mean mark": [
            f"{sum(t.marks) / len(t.marks):.1f} of {len(t.marks)}" if t.marks else ""
            for t in found.values()
        ],
    }
    shown = {head: cells for head, cells in columns.items() if any(cells)}
    return Table(
        title=f"{name}: {_counts(ratings, deck)}",
        header=("adapter", *shown) if shown else ("",),
        rows=tuple(zip(found, *shown.values(), strict=True)) if shown else (),
        align=("left", "right", "right"),
        notes=(*notes, *_next(ratings, name, path)),
    )


def standing_line(ratings: Ratings, deck: Deck, name: str, path: str) -> str:
    """How far it is, for whoever reads the notebook later; it names nobody."""
    where = plain(path, one_line=True)
    return f"[nbpeft] {name}: {_counts(ratings, deck)}; in {where}. This cell goes on from there."


def card_table(deck: Deck, place: str) -> Table:
    """The card that is looked at as text, for terminals; it names nobody."""
    card = deck.card
    if card is None:
        note = "The next answers aren't written yet; rating.deal(1) writes them."
        return Table(title="rating", header=("",), rows=(), notes=(note,))
    chosen = {answer: str(rank) for rank, answer in enumerate(deck.placed, 1)}
    return Table(
        title=f"rating: prompt {place}",
        header=("", "", "chosen"),
        rows=(
            ("prompt", prompt_text(card.prompt), ""),
            *(
                (str(i + 1), answer.text, chosen.get(i, ""))
                for i, answer in enumerate(card.answers)
            ),
        ),
        notes=(f"press one of: {' '.join(deck.keys)}",),
    )


def prompt_text(prompt: Prompt) -> str:
    """As it is shown; a user's lone message is a prompt like any other."""
    if isinstance(prompt, str):
        return prompt
    if [message["role"] for message in prompt] == ["user"]:
        return str(prompt[0]["content"])
    return "\n".join(f"{m['role']}: {m['content']}" for m in prompt)


def _counts(ratings: Ratings, deck: Deck) -> str:
    cards = list(_cards(ratings))
    bad = sum(len(rows) > 1 and not any(row["score"] for row in rows) for rows in cards)
    skipped = sum(rated.outcome == "skipped" for rated in deck.done)
    parts = [f"{count(len(cards))} rated"]
    parts += [f"{count(bad)} of them all bad"] if bad else []
    parts += [f"{count(skipped)} skipped"] if skipped else []
    return ", ".join(parts)


def _next(ratings: Ratings, name: str, path: str) -> Iterator[str]:
    """What to type with it."""
    if not ratings:
        yield "Nothing was rated."
        return
    yield f"The rows are the variable {name}, and {path}."
    objectives = [
        word for word, rows in (("dpo", ratings.preferences()), ("kto", ratings.thumbs())) if rows
    ]
    for objective in objectives:
        yield f"%finetune NAME --data {name} --objective {objective}"


def _cards(rows: Iterable[Row]) -> Iterator[list[Row]]:
    return (list(card) for _, card in groupby(rows, key=lambda row: row["group"]))
