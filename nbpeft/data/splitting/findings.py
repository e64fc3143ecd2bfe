"""What the plan says about how rows were read, and about rows that stand there twice."""

from __future__ import annotations

from collections.abc import Sequence

from nbpeft.data.reading.recipes import mapping, without_copies, without_held_out
from nbpeft.data.reading.shapes import shown
from nbpeft.data.splitting.copies import copies, joined, standing_in
from nbpeft.data.splitting.parts import Part, Parts

LONGEST = 1000
"""Characters of a line of Python that anybody would paste from a plan."""


def notes_on_reading(parts: Sequence[Part]) -> list[str]:
    """How each part is read, and the line of Python that does the same."""
    notes = []
    for part in parts:
        who = f"{shown(part.label)}: " if len(parts) > 1 else ""
        notes.append(who + part.reading.note(part.found))
        line = mapping(part.origin, part.reading, part.found) if part.origin else None
        if line and len(line) <= LONGEST:
            notes.append(f"{who}the same in Python: {line}")
        if part.remark:
            notes.append(who + part.remark)
    return notes


def found_copies(parts: Parts) -> tuple[int, int]:
    """(copies of another row to train on, held-out rows that are trained on, too)."""
    keys = joined([part.keys for part in parts.train])
    held = [part.keys for part in parts.held_out]
    return copies(keys), standing_in(joined(held), keys) if held else 0


def notes_on_copies(parts: Parts) -> list[str]:
    """How many rows stand there twice, and what to do about it."""
    notes = []
    rows, held = sum(map(len, parts.train)), sum(map(len, parts.held_out))
    twice, both = found_copies(parts)
    if twice:
        [one, *more] = parts.train
        line = without_copies(one.origin, one.reading) if one.origin and not more else None
        notes.append(
            f"copies of another among the {rows:,} rows to train on: {twice:,}"
            + (f"; to keep one of each: {line}" if line else "")
        )
    if parts.asked is not None and held < parts.asked:
        notes.append(
            f"{held:,} rows are held out where {parts.asked:,} were wanted, so that copies of a "
            "row stay on one side"
        )
    if both:
        line = None
        if len(parts.train) == len(parts.held_out) == 1:
            [one], [other] = parts.train, parts.held_out
            if one.origin and other.origin:
                line = without_held_out(one.origin, one.reading, other.origin, other.reading)
        notes.append(
            f"warning: {both:,} of the {held:,} held-out rows are trained on, too, so the held-out "
            "loss looks better than it is" + (f"; to take them out: {line}" if line else "")
        )
    return notes
