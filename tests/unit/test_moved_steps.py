"""Whether training moved anything: steps that can tell, those that can't, and what is said."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nbpeft.errors import RunError
from nbpeft.places.moved import SAMPLED, Moved

METHOD = SimpleNamespace(name="full", learning_rate=2e-5)


class Skipping:
    """accelerate's optimizer, as far as it is looked at."""

    def __init__(self, optimizer, *, skips=()):
        self.optimizer, self.skips = optimizer, list(skips)
        self.param_groups = optimizer.param_groups
        self.step_was_skipped = False

    def step(self):
        self.step_was_skipped = bool(self.skips and self.skips.pop(0))
        if not self.step_was_skipped:
            self.optimizer.step()


class Loop:
    """Steps of a loop around the check, as the trainer's callbacks call it."""

    def __init__(self, model, loss, *, skips=(), **words):
        self.model, self.loss = model, loss
        self.moved = Moved(model, METHOD)
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = Skipping(
            torch.optim.AdamW(trained, **{"lr": 1e-3, "weight_decay": 0.0} | words), skips=skips
        )
        self.steps = 0

    def step(self, rate=1e-3, *, rising=False):
        self.steps += 1
        self.moved.before_step()
        self.loss(self.model).backward()
        self.optimizer.param_groups[0]["lr"] = rate
        self.moved.before_update()
        self.optimizer.step()
        self.moved.after_update(self.optimizer, step=self.steps, rising=rising)
        self.model.zero_grad()


def healthy(model):
    return model(torch.ones(2, 8)).square().sum()


def cut(model):
    return healthy(model) * 0


def linear(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Linear(8, 8).to(dtype)


def lost(model):
    return model(torch.ones(2, 8, dtype=torch.bfloat16)).float().square().sum()


def test_a_step_that_moves_something_settles_it():
    loop = Loop(linear(), healthy)
    loop.step()
    loop.loss = cut  # never looked at again
    loop.step()
    loop.moved.finish()
    assert loop.moved._values == []


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_gradients_of_zero_are_none_though_weight_decay_moves_the_weights(decay):
    loop = Loop(linear(), cut, weight_decay=decay)
    with pytest.raises(RunError, match=r"^No gradient reaches the 2 parameters that full trains"):
        loop.step()


def test_no_gradients_at_all_are_none():
    apart = nn.Parameter(torch.ones(()))
    loop = Loop(linear(), lambda model: healthy(model).detach() * apart)
    with pytest.raises(RunError, match="No gradient reaches"):
        loop.step()


def test_a_part_without_a_gradient_is_no_matter():
    """LoRA's A at the first step, and an expert that no token was sent to."""
    model = nn.ModuleDict({"used": linear(), "unused": linear()})
    Loop(model, lambda m: healthy(m["used"])).step()


def test_a_few_rows_of_an_embedding_are_enough():
    model = nn.Embedding(50_000, 3)
    row = torch.tensor([49_998])  # between those that are looked at evenly
    loop = Loop(model, lambda m: m(row).sum())
    loop.step()
    assert all(len(values._before) <= SAMPLED for values in loop.moved._values)


def test_what_is_kept_of_a_large_parameter_is_small():
    model = nn.Linear(3000, 1000, bias=False)
    loop = Loop(model, lambda m: m(torch.ones(1, 3000)).sum())
    loop.moved.before_step()
    kept = loop.moved._values[0]._before
    assert kept.untyped_storage().nbytes() <= 4 * SAMPLED


def test_an_optimizer_that_steps_in_the_backward_pass():
    """LOMO and the layerwise ones leave no gradient to look at (arXiv:2306.09782)."""
    model = linear()

    def used_up(parameter):
        parameter.data -= parameter.grad
        parameter.grad = None

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(used_up)
    loop = Loop(model, healthy)
    loop.step()
    assert loop.moved._settled


def test_steps_that_were_skipped_are_passed_over():
    loop = Loop(linear(), lambda m: healthy(m) * float("inf"), skips=[True, True])
    loop.step()
    loop.step()
    loop.loss = healthy
    loop.step()
    assert loop.moved._settled


def test_a_run_that_skipped_every_step():
    loop = Loop(linear(), healthy, skips=[True])
    loop.step()
    with pytest.raises(RunError, match=r"every step overflowed and was skipped; type fp16: false"):
        loop.moved.finish()


def test_the_first_step_of_a_warm_up_is_passed_over():
    loop = Loop(linear(), healthy)
    loop.step(rate=0.0, rising=True)
    assert not loop.moved._settled
    loop.step(rate=1e-4, rising=True)
    assert loop.moved._settled


def test_a_run_that_ended_before_its_warm_up_began():
    loop = Loop(linear(), healthy)
    loop.step(rate=0.0, rising=True)
    with pytest.raises(RunError, match="learning rate was 0 throughout; give fewer warmup_steps"):
        loop.moved.finish()


def test_a_run_without_a_step_is_not_judged():
    Loop(linear(), healthy).moved.finish()


def test_an_update_lost_in_rounding():
    loop = Loop(linear(torch.bfloat16), lost)
    with pytest.raises(RunError) as error:
        loop.step(rate=1e-12)
    assert str(error.value) == (
        "Step 1 moved nothing: at learning rate 1e-12 every update is lost in rounding bfloat16 "
        "weights; type a larger --learning-rate (full's own is 2e-05), or load the model in "
        "float32."
    )


def test_in_a_warm_up_a_lost_update_waits_for_its_end():
    loop = Loop(linear(torch.bfloat16), lost)
    loop.step(rate=1e-12, rising=True)
    loop.step(rate=1e-2, rising=True)
    assert loop.moved._settled


def test_rounding_of_float32_has_no_finer_kind():
    with pytest.raises(RunError, match=r"rounding float32 weights; .* own is 2e-05\)\.$"):
        Loop(linear(), healthy).step(rate=1e-16)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number(bad):
    with pytest.raises(RunError, match=r"Step 1 came to .* not numbers \(nan, inf\): look for NaN"):
        Loop(linear(), lambda m: healthy(m) * bad).step()


def test_weights_that_overflow_by_an_optimizer_of_their_own_precision():
    """Adam's epsilon of 1e-8 is 0 in float16: a gradient of 0 becomes 0/0."""
    model = linear(torch.float16)
    loop = Loop(model, lambda m: m(torch.ones(2, 8, dtype=torch.float16))[:, 0].float().sum())
    with pytest.raises(RunError, match="float16 weights overflow: load the model in bfloat16"):
        loop.step()


def test_weights_that_were_no_numbers_before_are_not_the_steps_fault():
    model = linear()
    frozen_out = nn.Parameter(torch.full((4,), float("nan")))
    model.register_parameter("unused", frozen_out)
    Loop(model, healthy).step()


def test_every_message_is_one_line():
    for loss, rate in ((cut, 1e-3), (healthy, 1e-16), (lambda m: healthy(m) * float("nan"), 1e-3)):
        with pytest.raises(RunError) as error:
            Loop(linear(), loss).step(rate=rate)
        assert "\n" not in str(error.value)
