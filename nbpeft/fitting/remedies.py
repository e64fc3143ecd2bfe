"""What to change so that a run fits: the smallest change that does, each one traced, not guessed.

In the order of what they cost the result: smaller batches of held-out rows (nothing), gradient
checkpointing (time), smaller batches with as many more of them accumulated (time; the same step),
4 bits for the base (a little quality), shorter rows (what is cut).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nbpeft.errors import NbPeftError
from nbpeft.fitting.batch import lengths
from nbpeft.fitting.forecast import EVAL_BATCH, Step, forecast, kept_beside
from nbpeft.fitting.verdict import Fit
from nbpeft.precision import AS_LOADED
from nbpeft.rendering import count
from nbpeft.standing import standing

SHORTEST = 64
"""Tokens below which rows aren't cut any more."""
QUANTIZED = "nf4"


@dataclass(frozen=True)
class Remedy:
    """A change, by the words that users type, and what the run takes with it."""

    words: Mapping[str, Any]
    needed: int
    """Bytes beside the model."""
    cut: int = 0
    """Rows that are cut by it."""

    @property
    def typed(self) -> str:
        """As flags."""
        return " ".join(
            f"--{word.replace('_', '-')} {str(value).lower()}" for word, value in self.words.items()
        )

    @property
    def cost(self) -> str:
        """What it costs beside time."""
        return f" and cuts {count(self.cut)} rows" if self.cut else ""


@dataclass(frozen=True)
class _Change:
    """A step that has been changed, and by what."""

    step: Step
    words: Mapping[str, Any] = field(default_factory=dict)

    def trainer(self, **fields: Any) -> _Change:
        """With these fields of the trainer's config; typed by the words that stand for them."""
        step = replace(self.step, of_trainer={**self.step.of_trainer, **fields})
        words = {ALIASES.get(name, name): value for name, value in fields.items()}
        return _Change(step, {**self.words, **words})


ALIASES = {"per_device_train_batch_size": "batch_size"}


def remedy_for(step: Step, fit: Fit) -> Remedy | None:
    """The smallest change with which the run fits; None where there is none."""
    for family in _families(step, fit):
        found = _largest(family, fit)
        if found is not None:
            return found
    return None


def _families(step: Step, fit: Fit) -> Iterator[list[_Change]]:
    """Changes of one kind, the smallest first; each family takes less than those before it."""
    plain = _Change(step)
    if fit.traced.in_evaluation:
        size = int(step.of_trainer.get("per_device_eval_batch_size", EVAL_BATCH))
        yield [plain.trainer(per_device_eval_batch_size=n) for n in _divisors(size)]
    bases = [plain]
    if not step.of_trainer.get("gradient_checkpointing", False):
        bases.append(plain.trainer(gradient_checkpointing=True))
        yield bases[-1:]
    for base in bases:
        yield _batches(base)
    in_few_bits = [made for base in bases if (made := _quantized(base)) is not None]
    for base in in_few_bits:
        yield [base]
        yield _batches(base)
    smallest = _batches(in_few_bits[-1] if in_few_bits else bases[-1])
    yield _shorter(smallest[-1] if smallest else bases[-1])


def _largest(family: list[_Change], fit: Fit) -> Remedy | None:
    """The first of a family that fits, by halving: each takes less than the one before."""
    low, high, found = 0, len(family) - 1, None
    if family and (found := _tried(family[-1], fit)) is None:
        return None
    while low < high:
        middle = (low + high) // 2
        remedy = _tried(family[middle], fit)
        if remedy is None:
            low = middle + 1
        else:
            high, found = middle, remedy
    return found


def _tried(change: _Change, fit: Fit) -> Remedy | None:
    """The change as a remedy, if the run fits with it; what can't be run is none."""
    try:
        traced = forecast(change.step)
    except Exception:  # noqa: BLE001  prefix tuning refuses checkpointing, and so on
        return None
    changed = replace(fit, traced=traced)
    cut = 0
    if change.step.length is not None:
        cut = int((lengths(change.step.rows.train) > change.step.length).sum())
    return Remedy(change.words, changed.needed, cut) if changed.fits else None


def _batches(base: _Change) -> list[_Change]:
    """Smaller batches, as many rows a step."""
    step = base.step
    size, rows = step.batch_size, step.batch_size * step.accumulated
    eval_size = int(step.of_trainer.get("per_device_eval_batch_size", EVAL_BATCH))
    changes = []
    for n in _divisors(size):
        fields = {"per_device_train_batch_size": n, "gradient_accumulation_steps": rows // n}
        if n < eval_size and step.rows.held_out is not None:
            fields["per_device_eval_batch_size"] = n
        changes.append(base.trainer(**fields))
    return changes


def _divisors(size: int) -> list[int]:
    """Smaller sizes that a batch can be split into, the largest first."""
    return [n for n in range(size - 1, 0, -1) if size % n == 0]


def _quantized(base: _Change) -> _Change | None:
    """The base in 4 bits, where it isn't quantized and the method can stand on it."""
    step = base.step
    if step.state != AS_LOADED or step.handle.precision.loaded != AS_LOADED:
        return None
    try:
        standing(step.handle, step.method, step.of_method, QUANTIZED)
    except NbPeftError:
        return None
    beside = kept_beside(step.handle, QUANTIZED, in_place=False)
    changed = replace(step, state=QUANTIZED, beside=beside)
    return _Change(changed, {**base.words, "quantize": QUANTIZED})


def _shorter(base: _Change) -> list[_Change]:
    """Rows cut to a half, a quarter, … of the longest."""
    length = int(lengths(base.step.rows.train).max())
    sizes = []
    while (length := length // 2) >= SHORTEST:
        sizes.append(length)
    return [_Change(replace(base.step, length=n), {**base.words, "max_length": n}) for n in sizes]
