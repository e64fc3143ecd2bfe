"""Who says how good an answer is: a function of the kernel, a reward adapter, a judge.

--reward polite,quality:0.5   ─> rewards_of(…) ─> Weighted ─> a reward an answer
"""

from __future__ import annotations

from nbpeft.feedback.answers import Answered, Reward, Weighted
from nbpeft.feedback.surroundings import Surroundings

__all__ = ["Answered", "Reward", "Surroundings", "Weighted"]
