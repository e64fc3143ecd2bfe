"""A run that trains nothing stops after its first step, and leaves nothing behind."""

from __future__ import annotations

import pytest
import torch
from conftest import differences, logits, state_of
from test_resume import WORDS, stopped

import nbpeft
from nbpeft.errors import RunError
from nbpeft.methods import methods
from nbpeft.places import kernel


def zeroed(job):
    for parameter in job.model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(torch.zeros_like)


def bypassed(job):
    """The adapter takes no part in the forward pass, though something there asks for gradients."""
    from peft.tuners.lora import LoraLayer

    for module in job.model.modules():
        if isinstance(module, LoraLayer):
            module.forward = module.base_layer.forward
    embedding = job.model.get_input_embeddings()
    embedding.register_forward_hook(lambda _m, _i, out: out.requires_grad_())


@pytest.fixture
def spoil(monkeypatch):
    """`spoil(how)`: how the job's model is spoilt before the place trains it."""
    original = kernel.Kernel.train

    def call(how):
        def train(place, job):
            how(job)
            return original(place, job)

        monkeypatch.setattr(kernel.Kernel, "train", train)

    call.undo = lambda: monkeypatch.setattr(kernel.Kernel, "train", original)
    return call


@pytest.mark.parametrize("how", [zeroed, bypassed])
def test_without_gradients_it_stops_and_the_model_is_as_it_was(tune, spoil, how):
    tune.model.config.pad_token_id = None
    before, answers = state_of(tune.model, tune.tokenizer), logits(tune.model)
    spoil(how)
    with pytest.raises(RunError, match=r"^No gradient reaches the \d+ parameters that lora trains"):
        tune("one")
    assert differences(before, state_of(tune.model, tune.tokenizer)) == []
    assert torch.equal(logits(tune.model), answers)
    assert dict(nbpeft.adapters()) == {}
    assert not list(nbpeft.session.current().shelf.folder.rglob("*.safetensors"))

    spoil.undo()
    assert tune("one").record.version == 1


@pytest.mark.parametrize("method", [m.name for m in methods if m.needs <= {"causal logits"}])
def test_whatever_the_method(tune, spoil, method):
    spoil(zeroed)
    with pytest.raises(RunError, match="No gradient reaches"):
        tune("one", method=method, eval=0)


def test_weights_that_move_in_the_backward_pass_are_seen(tune, spoil):
    """As LOMO's and the layerwise optimizers' do: no gradient is left to look at."""

    def used_up(parameter):
        parameter.data -= 1e-3 * parameter.grad
        parameter.grad = None

    def fused(job):
        for parameter in job.model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(used_up)

    spoil(fused)
    assert tune("one", eval=0).metrics["steps"] == 3


def test_full_tuning_that_is_lost_in_rounding(tune):
    tune.model.to(torch.bfloat16)
    base = {name: p.clone() for name, p in tune.model.named_parameters()}
    with pytest.raises(RunError, match=r"^Step 1 moved nothing: at learning rate 1e-12 .*bfloat16"):
        tune("one", method="full", learning_rate=1e-12)
    assert all(torch.equal(p, base[name]) for name, p in tune.model.named_parameters())
    assert dict(nbpeft.adapters()) == {}
    tune("one", method="full", learning_rate=1e-3)


@pytest.mark.parametrize(
    "words", [{"warmup_steps": 2}, {"gradient_accumulation_steps": 2}], ids=str
)
def test_a_warm_up_and_accumulated_gradients_pass(tune, words):
    assert tune("one", **words).metrics["steps"] == 3


def test_a_resumed_run_is_looked_at_again(tune, monkeypatch, spoil):
    stopped(tune, monkeypatch, step=2)
    spoil(zeroed)
    with pytest.raises(RunError, match="step 3 moved nothing"):
        tune("part", **WORDS, resume=True)
    assert nbpeft.adapters()["part"].partial  # still there to go on from


def test_a_loss_that_is_no_number(tune, monkeypatch):
    from nbpeft.objectives._scored import _Scored

    original = _Scored.compute_loss

    def broken(self, *args, **words):
        loss = original(self, *args, **words)
        return (loss[0] * float("nan"), *loss[1:]) if isinstance(loss, tuple) else loss * torch.nan

    monkeypatch.setattr(_Scored, "compute_loss", broken)
    with pytest.raises(RunError, match=r"^Step 1 came to .* not numbers"):
        tune("one", eval=0)
    assert dict(nbpeft.adapters()) == {}


@pytest.mark.parametrize("rate", [0, -1e-4])
def test_a_learning_rate_that_trains_nothing_is_refused(tune, rate):
    with pytest.raises(nbpeft.NbPeftError, match="learning_rate must be above 0"):
        tune("one", learning_rate=rate)
