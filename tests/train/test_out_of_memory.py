"""Memory that runs out in a run: it goes on in smaller batches, and comes to the same."""

from __future__ import annotations

import pytest
import torch
from conftest import differences, state_of
from safetensors.torch import load_file

import nbpeft
from nbpeft.errors import RunError
from nbpeft.events import Noted, Progressed
from nbpeft.objectives._scored import _Scored
from nbpeft.places import kernel

WORDS = {"max_steps": 4, "batch_size": 4, "eval": 8, "dropout": 0.0, "learning_rate": 1e-3}
WAYS = {
    "packed": {},
    "plain": {"label_smoothing_factor": 0.1},  # TRL's own loss
    "soft prompt": {"method": "prompt", "dropout": None},
    "accumulated": {"batch_size": 2, "gradient_accumulation_steps": 2},
}


def rows_in(batch):
    return len(batch["lengths"]) if "lengths" in batch else len(batch["input_ids"])


class Tight:
    """A trainer's loss where memory runs out over more than `rows` rows, from step 2 on."""

    def __init__(self, trainer, rows, where, training, spared):
        self.trainer, self.rows, self.where = trainer, rows, where
        self.training, self.spared = training, spared
        self.plainly = trainer.compute_loss
        self.full = False

    def __call__(self, model, inputs, *more, **named):
        self.full = self.is_too_much(model, inputs)
        if self.full and self.where == "forward":
            self.refuse()
        loss = self.plainly(model, inputs, *more, **named)
        if self.full:  # in the backward pass, when later layers have their gradients
            next(p for p in model.parameters() if p.requires_grad).register_hook(self.refuse)
        return loss

    def is_too_much(self, model, inputs):
        if rows_in(inputs) <= self.rows or model.training != self.training:
            return False
        if self.training and self.trainer.state.global_step == 0:
            return False
        self.spared -= 1
        return self.spared < 0

    def refuse(self, _gradient=None):
        if self.full:
            raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.fixture
def room_for(monkeypatch):
    """`room_for(2)`: memory runs out over more rows; the first `spared` such batches fit."""
    made = kernel.trainer_of

    def limit(rows, *, where="forward", training=True, spared=0):
        def trainer_of(*args, **words):
            trainer = made(*args, **words)
            trainer.compute_loss = Tight(trainer, rows, where, training, spared)
            return trainer

        monkeypatch.setattr(kernel, "trainer_of", trainer_of)

    return limit


def weights(run):
    return load_file(run.record.path / "adapter_model.safetensors")


def assert_same(run, whole):
    """Weights and losses but for rounding."""
    ours, theirs = weights(run), weights(whole)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5, msg=name)
    for ours, theirs in ((run.record.losses, whole.record.losses), held_out_of(run, whole)):
        assert values(ours) == pytest.approx(values(theirs), rel=1e-4)


def held_out_of(*runs):
    return [run.record.held_out for run in runs]


def values(curve):
    return [loss for _, loss in curve]


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("way", WAYS)
def test_the_run_goes_on_and_comes_to_the_same(tune, events, room_for, way, where):
    words = WORDS | WAYS[way]
    whole = tune("whole", **words)
    size = words["batch_size"]
    room_for(size // 2, where=where)
    before = state_of(tune.model, tune.tokenizer)
    run = tune("it", **words)
    assert_same(run, whole)
    lines = [e.text for e in events if isinstance(e, Noted) and "memory ran out" in e.text]
    assert len(lines) == 1  # and later steps go in parts at once
    assert f"in step 2: the run goes on from the step before, with {size} rows a step" in lines[0]
    assert [e.step for e in events if isinstance(e, Progressed)][-4:] == [1, 2, 3, 4]
    assert differences(before, state_of(tune.model, tune.tokenizer)) == []


def test_a_batch_that_ran_through_is_gone_through_again(tune, room_for):
    """The gradients of a step's first batch are lost with those of the second."""
    words = WORDS | WAYS["accumulated"]
    whole = tune("whole", **words)
    room_for(1, where="backward", spared=1)
    assert_same(tune("it", **words), whole)


def test_batches_are_halved_as_often_as_it_takes(tune, events, room_for):
    whole = tune("whole", **WORDS)
    room_for(1)
    assert_same(tune("it", **WORDS), whole)
    assert sum("memory ran out" in e.text for e in events if isinstance(e, Noted)) == 2


@pytest.mark.parametrize("way", ["packed", "plain", "soft prompt"])
def test_held_out_rows_are_read_in_smaller_batches(tune, room_for, way):
    words = WORDS | WAYS[way]
    whole = tune("whole", **words)
    room_for(3, training=False)
    run = tune("it", **words)
    ours, theirs = held_out_of(run, whole)
    assert values(ours) == pytest.approx(values(theirs), rel=1e-4)


def test_over_a_single_row_it_ends(tune, room_for):
    room_for(0)
    before = state_of(tune.model, tune.tokenizer)
    with pytest.raises(RunError, match="in step 2 over a single row: type a smaller --max-length"):
        tune("it", **WORDS)
    assert differences(before, state_of(tune.model, tune.tokenizer)) == []
    assert dict(nbpeft.adapters()) == {}


def test_other_errors_are_not_taken_for_it(tune, monkeypatch):
    def broken(*_args, **_words):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(_Scored, "compute_loss", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        tune("it", **WORDS | {"eval": 0})


def test_a_penalty_counts_once_however_often_rows_are_accumulated(tune):
    words = WORDS | {"method": "adalora", "orth_reg_weight": 5.0, "max_steps": 6}
    whole = tune("whole", **words)
    parts = tune("parts", **words | {"batch_size": 1, "gradient_accumulation_steps": 4})
    assert values(parts.record.losses) == pytest.approx(values(whole.record.losses), rel=1e-3)
