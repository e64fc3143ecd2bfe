"""From what is typed after `--reward` to what judges: names of functions, adapters, or `judge`."""

from __future__ import annotations

import math
from typing import Any

from nbpeft.errors import RequestError, listed, quoted
from nbpeft.feedback.answers import Reward, Weighted
from nbpeft.feedback.functions import Function
from nbpeft.feedback.surroundings import Surroundings

JUDGE = "judge"
"""The name under which a judge is a reward."""


def rewards_of(around: Surroundings) -> Weighted:
    """The rewards that the request names; RequestError where one isn't there."""
    live = around.live.get("reward")
    if live is not None:
        return Weighted(((_function(around.request.reward or "reward", live), 1.0),))
    if not around.request.reward:
        raise RequestError(
            f"--objective {around.request.objective} needs a reward: type --reward NAME, with a "
            "function of yours (prompts, completions, **columns) -> numbers, a reward adapter, or "
            "judge."
        )
    named = [_weighted(part.strip()) for part in around.request.reward.split(",")]
    return Weighted(tuple((_found(around, name), weight) for name, weight in named))


def _weighted(part: str) -> tuple[str, float]:
    """'polite:0.5' as a name and its weight, 1 where none is given."""
    name, colon, weight = part.rpartition(":")
    if not colon:
        return part, 1.0
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise RequestError(
            f"--reward can't hold {quoted(part)}: a name with its weight is wanted, as in "
            "--reward polite:0.7,short:0.3."
        )
    return name, value


def _found(around: Surroundings, name: str) -> Reward:
    if name in around.variables:
        return _function(name, around.variables[name])
    raise _nobody(around, name)


def _function(name: str, value: Any) -> Function:
    if not callable(value):
        raise RequestError(
            f"The reward {name} is no function but a {type(value).__name__}: write it as "
            f"def {name}(prompts, completions, **columns), returning a number an answer."
        )
    return Function(name, value)


def _nobody(around: Surroundings, name: str) -> RequestError:
    adapters = [r.name for r in around.session.records() if r.objective == "reward"]
    return RequestError(
        f"There is no reward {quoted(name)}: it is neither a variable nor a reward adapter of this "
        f"model (those are: {listed(dict.fromkeys(adapters))}); define a function "
        f"{name if name.isidentifier() else 'NAME'}(prompts, completions, **columns), or train one "
        "with --objective reward."
    )
