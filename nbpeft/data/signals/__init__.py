"""From what rows an objective learns: an entry a kind of signal."""

from __future__ import annotations

from collections.abc import Mapping

from nbpeft.data.signals.answers import Answers
from nbpeft.data.signals.asked import Prompts
from nbpeft.data.signals.base import Signal
from nbpeft.data.signals.judged import Preferences, Ratings
from nbpeft.data.signals.labelled import Labels
from nbpeft.data.signals.texts import Texts
from nbpeft.request import LossOn

SIGNALS: Mapping[str, type[Signal]] = {
    "answers": Answers,
    "text": Texts,
    "preferences": Preferences,
    "ratings": Ratings,
    "labels": Labels,
    "prompts": Prompts,
}
"""Every kind, by the name that an objective has for it. A new one is an entry here."""

__all__ = [
    "SIGNALS",
    "Answers",
    "Labels",
    "Preferences",
    "Prompts",
    "Ratings",
    "Signal",
    "Texts",
    "signal_of",
]


def signal_of(kind: str, *, loss_on: LossOn, apart: bool) -> Signal:
    """A signal by its name.

    Args:
        loss_on, apart: of answers: which tokens are trained, and whether an encoder-decoder is.
    """
    if kind == "answers":
        return Answers(loss_on=loss_on, apart=apart)
    return SIGNALS[kind]()
