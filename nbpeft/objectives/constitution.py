"""Principles in place of answers: criticize, revise, learn the revisions, then AI feedback."""

from __future__ import annotations

from nbpeft.objectives import objectives
from nbpeft.objectives._chained import chain

objectives.add(
    chain(
        "constitution",
        "answers revised by principles are learned, then preferred by them (SFT, then DPO)",
        "Bai et al. 2022, arXiv:2212.08073",
        takes=frozenset({"judge", "principles", "rounds"}),
        revises=True,
    )
)
