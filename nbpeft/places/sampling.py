"""One prompt of the data, answered now and then while a run trains.

A falling loss says little; the same prompt answered before and after says what changed
(transformers#31462). Looking must not touch what is looked at: modes and random states are put
back, so that a run comes to the same weights, to the last bit, with samples and without.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import window_of
from nbpeft.errors import DataError
from nbpeft.events import Noted, Sampled
from nbpeft.generating import generate
from nbpeft.guard import random_state, restore_random_state
from nbpeft.places import Job

if TYPE_CHECKING:
    from torch import nn

NEW_TOKENS = 40
"""Of one answer."""
SHARE = 0.1
"""Of the run's time that samples between the first and the last may take."""


class Sampler:
    """Answers the first prompt of the data that the model's window holds."""

    def __init__(self, job: Job) -> None:
        self._job = job
        # Only a model that writes can be asked.
        self._on = job.samples and "causal logits" in job.objective.gives
        self._began = time.monotonic()
        self._spent = 0.0

    def sample(self, step: int, *, always: bool = False) -> Sampled | None:
        """The answer as the model is now; None where there is no prompt or it would take too long.

        A model that can't generate costs a line, once, and never the run. `always`: whatever it
        takes.
        """
        began = time.monotonic()
        affordable = self._spent <= SHARE * (began - self._began)
        if not self._on or not (always or affordable):
            return None
        try:
            return self._answered(step)
        except Exception as error:  # noqa: BLE001  anything that a model's generate may raise
            self._on = False
            reason = " ".join(str(error).split()) or type(error).__name__
            self._job.events.emit(Noted(f"no sample completions: generating failed ({reason})"))
            return None
        finally:
            self._spent += time.monotonic() - began

    def _answered(self, step: int) -> Sampled | None:
        found = self._prompt()
        if found is None:
            self._on = False
            return None
        prompt, ids = found
        with _looking(self._job.model):
            text = _greedy(self._job.model, self._job.tokenizer, ids)
        return Sampled(step, _shown(prompt), text)

    def _prompt(self) -> tuple[Any, list[int]] | None:
        """The prompt and its ids, written as in training."""
        rows, tokenizer = self._job.rows, self._job.tokenizer
        window = window_of(self._job.model)
        # An encoder-decoder writes where it doesn't read.
        room = 0 if rows.rendering.apart else NEW_TOKENS
        for prompt in rows.sample_prompts:
            with contextlib.suppress(DataError):  # a template may refuse a chat without its answer
                ids = rows.rendering.prompt_ids(tokenizer, prompt)
                if ids and (window is None or len(ids) + room <= window):
                    return prompt, ids
        return None


@contextlib.contextmanager
def _looking(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; every module's mode and all random states as before after."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    random = random_state()
    try:
        model.eval()
        # Not inference_mode: what a module caches meanwhile must still do for training.
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        restore_random_state(random)


def _greedy(model: Any, tokenizer: Any, ids: list[int]) -> str:
    [(text, _)] = generate(model, tokenizer, [ids], max_new_tokens=NEW_TOKENS)
    return text


def _shown(prompt: str | list[dict[str, Any]]) -> str:
    """A chat by its last message: what was asked."""
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
