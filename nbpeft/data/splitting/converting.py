"""Judgements of one kind made of another: preferences of thumbs and marks, thumbs of the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbpeft.data.reading.examples import Preference, Rating, Scored
from nbpeft.data.splitting.parts import Part, keyed, new_name
from nbpeft.errors import DataError, quoted

if TYPE_CHECKING:
    import pyarrow as pa

OTHER = "the other's "
"""What columns of the worse answer of a pair are called by, before their name."""
SIDE = "is it the chosen"
"""The column that says which answer of a preference is rated."""


def as_preferences(part: Part) -> Part:
    """Pairs of a prompt's answers, where these come with thumbs or marks.

    The best answer of a prompt goes over each that is marked lower; where several are best, each
    of them is used. So n answers give n - 1 pairs at most, and not all n² of them.

    Raises:
        DataError: no prompt has two answers of which one is better.
    """
    examples = list(part.each())
    if isinstance(examples[0], Preference):
        return part
    judged = [example for example in examples if isinstance(example, Rating | Scored)]
    rows: dict[object, list[int]] = defaultdict(list)
    for row, (example, prompt) in enumerate(zip(judged, part.groups.tolist(), strict=True)):
        rows[prompt, example.group if isinstance(example, Scored) else None].append(row)
    marks = [e.good if isinstance(e, Rating) else e.score for e in judged]
    pairs = [
        (better, worse)
        for own in rows.values()
        for better, worse in _pairs(own, marks)
        if judged[better].completion != judged[worse].completion
    ]
    if not pairs:
        raise DataError(
            f"No preference can be made of the {len(part):,} rows of {quoted(part.label)}: no "
            "prompt has two answers of which one is marked higher; give several answers to a "
            "prompt, or rows with chosen and rejected."
        )
    used = {row for pair in pairs for row in pair}
    without = sum(used.isdisjoint(own) for own in rows.values())
    return _paired(part, pairs, _told(len(pairs), len(rows), without))


def _pairs(rows: Sequence[int], marks: Sequence[float]) -> Iterator[tuple[int, int]]:
    """(better, worse) of a prompt's rows: the best over the others, each used once at least."""
    highest = max(marks[row] for row in rows)
    best = [row for row in rows if marks[row] == highest]
    others = [row for row in rows if marks[row] < highest]
    for place in range(max(len(best), len(others)) if others else 0):
        yield best[place % len(best)], others[place % len(others)]


def _told(pairs: int, prompts: int, without: int) -> str:
    none = ""
    if without:
        none = f"; {without:,} of {prompts:,} prompts gave none: one answer, or all marked alike"
    return (
        f"{pairs:,} preferences are made of them: of each prompt's answers the best over each that "
        f"is marked lower{none}"
    )


def _paired(part: Part, pairs: Sequence[tuple[int, int]], remark: str) -> Part:
    """A part of pairs of rows, the better one's columns beside the other's."""
    import datasets

    table: pa.Table = part.dataset.with_format("arrow")[:]
    names = table.column_names
    better, worse = (list(side) for side in zip(*pairs, strict=True))
    other = table.take(worse)
    both = table.take(better)
    for name in names:
        both = both.append_column(OTHER + name, other[name])
    judged = part.example_of

    def preference(row: Mapping[str, Any]) -> Preference:
        one, two = judged(row), judged({name: row[OTHER + name] for name in names})
        assert isinstance(one, Rating | Scored)  # `as_preferences` looked
        assert isinstance(two, Rating | Scored)
        return Preference(one.prompt, one.completion, two.completion)

    return keyed(
        replace(
            part,
            dataset=datasets.Dataset(both, fingerprint=new_name()),
            numbers=[part.numbers[row] for row in better],
            example_of=preference,
            remark=remark,
        )
    )


def as_ratings(part: Part) -> Part:
    """Thumbs, where answers come in pairs or with marks.

    Of a pair the chosen one is up and the rejected one down. Of marks those above the middle
    between the lowest and the highest are up, those below it down; those on it are left out.

    Raises:
        DataError: all marks are the same.
    """
    first = part.examples(1)[0]
    if isinstance(first, Preference):
        return _both_sides(part)
    return _above_middle(part) if isinstance(first, Scored) else part


def _both_sides(part: Part) -> Part:
    import datasets
    import pyarrow as pa

    table: pa.Table = part.dataset.with_format("arrow")[:]
    sides = [
        table.append_column(SIDE, pa.array([side] * len(table), pa.bool_()))
        for side in (True, False)
    ]
    preferred = part.example_of

    def rating(row: Mapping[str, Any]) -> Rating:
        example = preferred(row)
        assert isinstance(example, Preference)  # `as_ratings` looked
        answer = example.chosen if row[SIDE] else example.rejected
        return Rating(example.prompt, answer, row[SIDE])

    return keyed(
        replace(
            part,
            dataset=datasets.Dataset(pa.concat_tables(sides), fingerprint=new_name()),
            numbers=[*part.numbers, *part.numbers],
            example_of=rating,
            remark=f"{2 * len(part):,} thumbs are made of them: chosen is up, rejected is down",
        )
    )


def _above_middle(part: Part) -> Part:
    marks = [example.score for example in part.each() if isinstance(example, Scored)]
    lowest, highest = min(marks), max(marks)
    if lowest == highest:
        raise DataError(
            f"All {len(marks):,} marks of {quoted(part.label)}, column "
            f"{quoted(part.reading.columns['score'])}, are {lowest:g}, so none says up or down; "
            "give marks that differ."
        )
    middle = (lowest + highest) / 2
    scored = part.example_of

    def rating(row: Mapping[str, Any]) -> Rating:
        example = scored(row)
        assert isinstance(example, Scored)  # `as_ratings` looked
        return Rating(example.prompt, example.completion, example.score > middle)

    kept = part.some([row for row, mark in enumerate(marks) if mark != middle])
    between = len(marks) - len(kept)
    left_out = f"; {between:,} rows on it are left out" if between else ""
    remark = (
        f"marks from {lowest:g} to {highest:g} are taken as thumbs: up above {middle:g}, down "
        f"below{left_out}"
    )
    return keyed(replace(kept, example_of=rating, remark=remark))
