"""From what rows an objective learns: an entry a kind of signal."""

from __future__ import annotations

from nbpeft.data.signals.answers import Answers
from nbpeft.data.signals.asked import Prompts
from nbpeft.data.signals.base import Signal
from nbpeft.data.signals.judged import Preferences, Ratings
from nbpeft.data.signals.labelled import Labels

__all__ = ["Answers", "Labels", "Preferences", "Prompts", "Ratings", "Signal"]
