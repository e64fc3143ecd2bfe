"""LoRA layers as one operation: what PEFT's give, with less kept, and nothing left behind."""

from __future__ import annotations

import contextlib
import signal

import architectures
import peft
import pytest
import torch
from conftest import differences, state_of
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from nbpeft.seam.casting import frozen_in_fast_dtype
from nbpeft.seam.lora import fused
from nbpeft.tuners.nested import nest_all

IDS = torch.arange(3, 27).reshape(2, 12)
LINEAR = ["llama", "qwen2", "qwen3", "phi", "phi3", "gemma", "mistral", "gpt_neox"]


def tuned(name="llama", dtype=torch.float32, **options):
    """A random model with a LoRA that isn't zero, in train mode."""
    base = architectures.build(name).to(dtype)
    torch.manual_seed(1)
    settings = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False} | options
    return peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **settings)).train()


def step(model):
    """Loss and the gradients of all that trains."""
    model.zero_grad()
    loss = model(IDS, labels=IDS).loss
    loss.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.requires_grad]
    assert gradients
    assert all(bool(gradient.any()) for gradient in gradients)
    return loss.item(), gradients


def apart(one, other):
    """The largest relative difference of a gradient's norm."""
    return max(
        ((a.float() - b.float()).norm() / b.float().norm()).item()
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("options", [{}, {"use_rslora": True, "lora_alpha": 3}], ids=["", "rs"])
@pytest.mark.parametrize("name", LINEAR)
def test_losses_and_gradients_are_pefts(name, options):
    model = tuned(name, **options)
    loss, gradients = step(model)
    with fused(model) as layers:
        mine, own = step(model)
    wanted = [m for m in model.modules() if isinstance(m, peft.tuners.lora.Linear)]
    assert layers == len(wanted) > 0
    assert mine == pytest.approx(loss, rel=1e-6)
    assert apart(own, gradients) < 2e-6
    assert step(model)[0] == loss


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_bf16_it_is_as_near_to_the_truth_as_peft(dtype, autocast):
    model = tuned("qwen2", dtype)
    truth = step(tuned("qwen2", dtype).float())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        theirs = step(model)
        with fused(model):
            mine = step(model)
    lowered = autocast or dtype == torch.bfloat16
    assert mine[0] == pytest.approx(theirs[0], abs=5e-3 if lowered else 1e-6)
    assert apart(mine[1], truth[1]) <= 1.5 * apart(theirs[1], truth[1]) + 1e-6
    assert all(gradient.dtype == torch.float32 for gradient in mine[1])


def test_it_is_one_operation():
    """So that the tests above look at it, and not at PEFT's."""
    model = tuned()
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    with fused(model):
        assert type(layer(torch.randn(3, architectures.WIDTH)).grad_fn).__name__ == "_LoraBackward"


def same_as_peft(model, prepare=lambda _: None):
    prepare(model)
    torch.manual_seed(5)
    loss, gradients = step(model)
    with fused(model):
        torch.manual_seed(5)
        mine, own = step(model)
    return mine == loss and all(map(torch.equal, own, gradients))


@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True},
        {"lora_bias": True},
        {"lora_dropout": 0.5},
        {"bias": "all"},
        {"modules_to_save": ["q_proj"], "target_modules": ["v_proj"], "lora_dropout": 0.1},
    ],
    ids=str,
)
def test_what_is_no_plain_lora_runs_as_it_is(options):
    name = "qwen2" if len(options) == 1 else "llama"
    if "lora_bias" in options or "bias" in options:
        options = options | {"target_modules": ["q_proj"]}  # those with a bias
    assert same_as_peft(tuned(name, **options))


def test_dropout_is_nothing_in_eval_mode():
    model = tuned(lora_dropout=0.5).eval()
    loss, gradients = step(model)
    with fused(model):
        mine, own = step(model)
        inside = type(model.base_model.model.lm_head.weight)
    assert inside is nn.Parameter
    assert mine == pytest.approx(loss, rel=1e-6)
    assert 0 < apart(own, gradients) < 2e-6  # rounded otherwise: it was one operation


def test_two_adapters_at_once_run_as_they_are():
    model = tuned()
    model.add_adapter(
        "b", peft.LoraConfig(r=2, init_lora_weights=False, target_modules="all-linear")
    )
    assert same_as_peft(model, lambda m: m.base_model.set_adapter(["default", "b"]))


def test_nested_factors_run_as_they_are():
    model = nest_all(tuned(), last_only=False)
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.Linear):
            module.lora_A["default"].use(2)
            module.lora_B["default"].use(2)
    assert same_as_peft(model)


def test_a_mark_on_the_base_layer_is_still_called():
    model = tuned()
    seen = []
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    with fused(model):
        layer.base_layer.register_forward_hook(lambda *_: seen.append(1))
        model(IDS)
    assert seen == [1]


def test_switched_off_or_merged_it_answers_so():
    model = tuned().eval()
    with torch.no_grad():
        with model.disable_adapter():
            base = model(IDS).logits
        on = model(IDS).logits
        assert not torch.allclose(base, on)
        with fused(model):
            with model.disable_adapter():
                assert torch.equal(model(IDS).logits, base)
            assert torch.allclose(model(IDS).logits, on, atol=1e-5)
            model.merge_adapter()
            assert torch.allclose(model(IDS).logits, on, atol=1e-5)


def test_more_arguments_are_pefts_affair():
    model = tuned().eval()
    names = ["default", "__base__"]
    with torch.no_grad():
        wanted = model(IDS, adapter_names=names).logits
        with fused(model):
            assert torch.equal(model(IDS, adapter_names=names).logits, wanted)


@pytest.mark.parametrize("reentrant", [False, True])
def test_through_gradient_checkpointing(reentrant):
    model = tuned()
    loss, gradients = step(model)
    model.base_model.model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    with fused(model):
        mine, own = step(model)
    assert mine == pytest.approx(loss, rel=1e-6)
    assert apart(own, gradients) < 2e-6


class Kept:
    """The bytes that a forward keeps for backward, each storage once, parameters apart."""

    def __init__(self, model):
        self._parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self._kept = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda t: t)

    def _keep(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._parameters:
            self._kept[storage.data_ptr()] = storage
        return tensor

    def of(self, forward):
        with self._hooks:
            self.output = forward()
        return sum(storage.nbytes() for storage in self._kept.values())


class Attention(nn.Module):
    """Three projections of one input, as far as it matters here."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(64, 64, bias=False) for _ in range(3))

    def forward(self, x):
        return self.q(x) + self.k(x) + self.v(x)


def projections():
    config = peft.LoraConfig(r=4, target_modules=["q", "k", "v"], init_lora_weights=False)
    return peft.get_peft_model(Attention(), config)


def test_the_input_is_kept_once(monkeypatch):
    monkeypatch.setattr("nbpeft.seam.casting.fast_in_bf16", lambda _: True)
    monkeypatch.setattr("nbpeft.seam.casting.SMALL", 0)
    model = projections()
    x = torch.randn(32, 64, requires_grad=True)
    low = 3 * 32 * 4  # of three layers: rows times rank
    with fused(model):
        assert Kept(model).of(lambda: model(x)) == 4 * 32 * 64 + 4 * low
        with frozen_in_fast_dtype(model) as copies:
            kept = Kept(model).of(lambda: model(x))
            assert kept - copies == 2 * 32 * 64 + 2 * low


def test_an_input_that_was_written_into_is_cast_again():
    model = projections().bfloat16()
    with fused(model), torch.no_grad():
        x = torch.randn(8, 64)
        first = model(x)
        x.mul_(2)
        assert torch.allclose(model(x), 2 * first, rtol=0.05, atol=0.05)


def test_an_input_first_seen_in_inference_mode_can_be_trained_on():
    model = projections().bfloat16()
    x = torch.randn(8, 64, requires_grad=True)
    with fused(model):
        with torch.inference_mode():
            model(x)
        model(x).sum().backward()
    assert bool(x.grad.any())


def test_nothing_is_computed_for_the_frozen_weight():
    """Multiplications and additions of a step, counted: forward and the input's gradient alone."""
    rows, width, rank = 32, 64, 4
    model = projections()
    x = torch.randn(rows, width, requires_grad=True)
    with fused(model), FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    base = 2 * 2 * rows * width * width  # forward, and toward the input
    factors = 5 * 2 * rows * width * rank  # a sixth, in place, isn't counted
    assert counter.get_total_flops() == 3 * (base + factors)


def test_shapes_alone_are_enough():
    model = projections()
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.randn(
            8, 64, dtype=torch.bfloat16, requires_grad=True
        )  # cast, and the cast is looked up
        with fused(model):
            model(x).sum().backward()
        assert x.grad.shape == (8, 64)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(tiny_pair, fails):
    base, tokenizer = tiny_pair
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config)
    before = state_of(model, tokenizer)
    with contextlib.suppress(KeyboardInterrupt), fused(model):
        assert differences(before, state_of(model, tokenizer))  # so they'd be seen
        if fails:
            signal.raise_signal(signal.SIGINT)
    assert differences(before, state_of(model, tokenizer)) == []


def test_a_step_taken_inside_moves_the_weights_as_outside():
    moved = []
    for within in (False, True):
        model = tuned()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.1)
        before = [p.detach().clone() for p in trained]
        if within:
            with fused(model):
                step(model)
                optimizer.step()
        else:
            step(model)
            optimizer.step()
        moved.append([p.detach() - b for p, b in zip(trained, before, strict=True)])
    assert apart(*moved) < 1e-4  # differences of fp32 weights
