"""From what is typed after `--reward` to what judges: names of functions, adapters, or `judge`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from nbpeft.data import Rendering, default_rendering
from nbpeft.errors import AdapterError, RequestError, listed, quoted
from nbpeft.feedback.adapters import Scores
from nbpeft.feedback.answers import Reward, Weighted
from nbpeft.feedback.functions import Function
from nbpeft.feedback.judge import FunctionJudge, Judge, Judged, ModelJudge
from nbpeft.feedback.surroundings import Surroundings
from nbpeft.session.record import Record
from nbpeft.session.tokenizers import outputs_of, tokenizer_of

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
    if name == JUDGE:
        return Judged(judge_of(around))
    if name in around.variables:
        return _function(name, around.variables[name])
    record = adapter_of(around, name)
    if record is None:
        raise _nobody(around, name)
    assert around.rater is not None  # of a run it is there
    return Scores(name, around.rater(record))


def judge_of(around: Surroundings, rubric: str = "") -> Judge:
    """Who judges: what `--judge` names, or the model alone; RequestError where it isn't there.

    Args:
        rubric: what it looks for; by default what the request says.
    """
    name, live = around.request.judge, around.live.get("judge")
    value = around.variables.get(name or "") if live is None else live
    if value is not None:
        return _variable(around, name or JUDGE, value, rubric)
    record = None if name in (None, "base") else adapter_of(around, str(name))
    if record is None and name not in (None, "base"):
        raise RequestError(
            f"There is no judge {quoted(name)}: it is neither an adapter of this model nor a "
            "variable; leave --judge out to let the model itself judge."
        )
    kept = None if record is None else record.data.get("rendering")
    return ModelJudge(
        name=name or "base",
        handle=around.handle,
        label=None if record is None else record.label,
        tokenizer=around.tokenizer,
        rendering=Rendering.from_dict(kept) if kept else default_rendering(around.tokenizer),
        rubric=rubric or _rubric(around),
        swaps=True,
        state=around.state,
    )


def reviser_of(around: Surroundings, judge: Judge, rubric: str) -> ModelJudge:
    """Who writes in the judge's name: the judge, or the model alone where a function judges."""
    if isinstance(judge, ModelJudge):
        return judge
    asked = dataclasses.replace(around.request, judge=None)
    own = judge_of(dataclasses.replace(around, request=asked, live={}), rubric)
    assert isinstance(own, ModelJudge)
    return own


def _variable(around: Surroundings, name: str, value: Any, rubric: str) -> Judge:
    """A function of the user's, or another model of the kernel."""
    from transformers import PreTrainedModel

    if not isinstance(value, PreTrainedModel):
        return FunctionJudge(_function(name, value))
    handle = around.session.handle(value)
    tokenizer = _tokenizer(around, value)
    return ModelJudge(
        name=name,
        handle=handle,
        label=handle.attached if handle is not around.handle else None,
        tokenizer=tokenizer,
        rendering=default_rendering(tokenizer),
        rubric=rubric or _rubric(around),
        swaps=handle is around.handle,
    )


def _tokenizer(around: Surroundings, model: Any) -> Any:
    """Another model's tokenizer: loaded from where it was, or the first that fits its words."""
    found = tokenizer_of(model, around.variables, [around.tokenizer])
    if found is None:
        raise RequestError(
            "No tokenizer in the kernel fits the judge, whose vocabulary has "
            f"{outputs_of(model):,} words: load its own into a variable."
        )
    return found


def _rubric(around: Surroundings) -> str:
    if not around.request.rubric:
        raise RequestError(
            "A judge needs a rubric: write what it looks for in the body, as in "
            "rubric: A good answer is short and polite."
        )
    return around.request.rubric


def adapter_of(around: Surroundings, name: str) -> Record | None:
    """This model's adapter of that name, which stands on the base as it is trained; None."""
    try:
        record = around.session.record(around.handle, name)
    except AdapterError:
        return None
    if record.state != around.state:
        raise RequestError(
            f"{record.label} stands on a base that is {record.state}, and this run's is "
            f"{around.state}: they can't share it; train it anew on that one, with --quantize."
        )
    around.session.mount(around.handle, record)
    return record


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
