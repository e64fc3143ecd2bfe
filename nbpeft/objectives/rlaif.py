"""Preferences by a judge instead of by people: pairs are sampled, ranked, and go into DPO."""

from __future__ import annotations

from nbpeft.objectives import objectives
from nbpeft.objectives._chained import chain

objectives.add(
    chain(
        "rlaif",
        "of two sampled answers the one that a judge prefers becomes likelier (then DPO)",
        "Lee et al. 2023, arXiv:2309.00267",
        takes=frozenset({"judge", "rubric"}),
        revises=False,
    )
)
