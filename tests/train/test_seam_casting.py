"""Frozen fp32 weights multiplied in bf16 for a while: as near as bf16 is, and nothing touched."""

from __future__ import annotations

import contextlib
import signal

import architectures
import peft
import pytest
import torch
from conftest import PROBE, differences, logits, state_of
from torch import nn
from torch._subclasses import FakeTensorMode

from nbpeft.methods import Material, methods
from nbpeft.seam.casting import FAST, fast_in_bf16, frozen_in_fast_dtype, multiplied_by
from nbpeft.seam.lora import fused


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """As on hardware with bf16: what is computed is the same on any."""
    monkeypatch.setattr("nbpeft.seam.casting.fast_in_bf16", lambda _: True)
    monkeypatch.setattr("nbpeft.seam.casting.SMALL", 0)


def tuned(name="llama", **options):
    base = architectures.build(name)
    torch.manual_seed(1)
    settings = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False} | options
    return peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **settings)).train()


def step(model, ids=PROBE):
    model.zero_grad()
    loss = model(ids, labels=ids).loss
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def apart(one, other):
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma", "phi", "gpt_neox", "mixtral"])
@pytest.mark.parametrize("one_operation", [False, True])
def test_losses_and_gradients_are_those_of_fp32_but_for_bf16s_rounding(name, one_operation):
    model = tuned(name, target_modules=["q_proj", "v_proj", "query_key_value"])
    loss, gradient = step(model)
    with frozen_in_fast_dtype(model), fused(model) if one_operation else contextlib.nullcontext():
        mine, own = step(model)
    assert mine == pytest.approx(loss, abs=2e-3)
    assert 0 < apart(own, gradient) < 0.03
    assert step(model)[0] == loss


def test_hidden_states_stay_in_fp32():
    model = tuned()
    seen = set()
    for module in model.modules():
        module.register_forward_hook(lambda _m, _in, out: seen.add(getattr(out, "dtype", None)))
    with frozen_in_fast_dtype(model), fused(model):
        model(PROBE)
    assert seen == {torch.float32, None}


def test_what_is_asked_of_a_weight_is_answered_in_fp32():
    """DoRA's norm, a rotation of the weight, a saved model: all read the layer's own."""
    model = tuned()
    weights = {id(p): p.data_ptr() for p in model.parameters()}
    with frozen_in_fast_dtype(model):
        assert {id(p): p.data_ptr() for p in model.parameters()} == weights
        assert all(p.dtype == torch.float32 for p in model.state_dict().values())
        head, hidden = model.get_output_embeddings(), torch.randn(3, architectures.WIDTH)
        assert multiplied_by(head, hidden).dtype == FAST
        assert torch.equal(multiplied_by(head, hidden), head.weight.to(FAST))
    assert multiplied_by(head, hidden) is head.weight


@pytest.mark.parametrize("options", [{"use_dora": True}, {"init_lora_weights": "pissa"}], ids=str)
def test_methods_that_read_the_base_are_right(options):
    model = tuned(**options)
    loss, gradient = step(model)
    with frozen_in_fast_dtype(model):
        mine, own = step(model)
    assert mine == pytest.approx(loss, abs=2e-3)
    assert apart(own, gradient) < 0.03


@pytest.mark.parametrize("name", ["full", "last-layers", "diff", "bitfit", "ln", "ia3", "adalora"])
def test_what_a_method_trains_is_not_copied(name, tiny_pair):
    """Decided by what is trained: steps go where they go without copies."""
    root, tokenizer = tiny_pair
    if name == "bitfit":
        root = architectures.build("qwen2")
    method = methods.get(name)
    torch.manual_seed(0)
    mount = method.mount(root, dict(method.defaults), Material(tokenizer, []))
    mount.attach(root)
    try:
        trained = [p for p in root.parameters() if p.requires_grad]
        results = []
        for copies in (False, True):
            torch.manual_seed(3)  # diff pruning draws
            with frozen_in_fast_dtype(root) if copies else contextlib.nullcontext():
                results.append(step(root))
                assert not any(p.dtype == FAST for p in trained)
    finally:
        mount.detach(root)
    assert results[1][0] == pytest.approx(results[0][0], rel=2e-3)
    assert apart(results[1][1], results[0][1]) < 0.05


def test_another_tensor_in_a_weights_place_is_multiplied_by_itself():
    layer = nn.Linear(8, 8).requires_grad_(False)
    x, other = torch.randn(3, 8), torch.randn(8, 8)
    layer.weight = nn.Parameter(torch.randn(8, 8), requires_grad=False)
    assert layer.weight._version == other._version == 0  # it isn't known by that
    with frozen_in_fast_dtype(layer):
        mine = torch.func.functional_call(layer, {"weight": other}, (x,))
    assert torch.equal(mine, nn.functional.linear(x, other, layer.bias))


def test_a_few_rows_are_multiplied_by_the_weight_itself(monkeypatch):
    monkeypatch.setattr("nbpeft.seam.casting.SMALL", 3 * 8 * 8)
    layer = nn.Linear(8, 8).requires_grad_(False)
    few, enough = torch.randn(2, 8), torch.randn(3, 8)
    before = layer(few), layer(enough)
    with frozen_in_fast_dtype(layer):
        assert multiplied_by(layer, few) is layer.weight
        assert multiplied_by(layer, enough).dtype == FAST
        assert torch.equal(layer(few), before[0])
        assert not torch.equal(layer(enough), before[1])


def test_a_trained_bias_gets_its_gradient():
    layer = nn.Linear(8, 8).requires_grad_(False)
    layer.bias.requires_grad_(True)
    with frozen_in_fast_dtype(layer) as size:
        assert size > 0
        layer(torch.randn(3, 8)).sum().backward()
    assert torch.equal(layer.bias.grad, torch.full((8,), 3.0))


def test_under_autocast_it_is_what_autocast_computes():
    layer = nn.Linear(8, 8).requires_grad_(False)
    x = torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(x)
        with frozen_in_fast_dtype(layer):
            assert torch.equal(layer(x), expected)


def test_shapes_alone_are_enough():
    """For a prediction of what a run would take: nothing is computed, only sizes."""
    with FakeTensorMode():
        layer = nn.Linear(8, 8).requires_grad_(False)
        x = torch.randn(3, 8, requires_grad=True)
        with frozen_in_fast_dtype(layer):
            layer(x).sum().backward()
        assert x.grad.shape == (3, 8)


@pytest.mark.parametrize("change", ["written", "trained"])
def test_a_weight_that_changes_is_multiplied_by_itself(change):
    layer = nn.Linear(8, 8).requires_grad_(False)
    x = torch.randn(3, 8)
    with frozen_in_fast_dtype(layer):
        layer(x)
        if change == "written":
            layer.weight.mul_(3)
        else:
            layer.weight.requires_grad_(True)
        assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
        assert multiplied_by(layer, x) is layer.weight


def test_tied_weights_have_one_copy_and_the_embedding_reads_its_own():
    model = architectures.build("gemma").requires_grad_(False)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert head.weight is embedding.weight
    linear = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Linear)}
    with frozen_in_fast_dtype(model) as size:
        assert size == sum(2 * weight.numel() for weight in linear.values())
        embedded = embedding(PROBE)
    assert torch.equal(embedded, embedding(PROBE))


def test_a_layer_that_never_multiplies_is_never_copied():
    layer = nn.Linear(8, 8).requires_grad_(False)
    with frozen_in_fast_dtype(layer):
        forward = layer.forward
        assert forward._copies == {}
        layer(torch.randn(1, 8))
        assert len(forward._copies) == 1
    assert forward._copies == {}  # and freed, whoever still holds the forward


def test_first_used_for_an_answer_then_trained_through():
    layer = nn.Linear(8, 8).requires_grad_(False)
    x = torch.randn(3, 8, requires_grad=True)
    with frozen_in_fast_dtype(layer):
        with torch.inference_mode():
            layer(x)
        layer(x).sum().backward()
    assert bool(x.grad.any())


@pytest.mark.parametrize("free", [0, 10_000])
def test_without_room_nothing_is_copied(free):
    model = tuned().eval()
    before = logits(model)
    with frozen_in_fast_dtype(model, device_memory_free=free) as size:
        assert size == 0
        assert torch.equal(logits(model), before)


def test_room_is_what_is_left_with_a_margin():
    layer = nn.Linear(10, 10).requires_grad_(False)  # 200 bytes
    for free, copied in ((201, 0), (260, 0), (270, 200)):
        with frozen_in_fast_dtype(layer, device_memory_free=free) as size:
            assert size == copied


def test_on_hardware_that_is_slow_in_bf16_nothing_is_copied(monkeypatch):
    monkeypatch.setattr("nbpeft.seam.casting.fast_in_bf16", fast_in_bf16)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    with frozen_in_fast_dtype(tuned()) as size:
        assert size == 0


@pytest.mark.parametrize("kind", ["trained", "other dtype", "subclass", "own forward"])
def test_layers_of_another_kind_are_left_alone(kind):
    class Own(nn.Linear):
        pass

    layer = (Own if kind == "subclass" else nn.Linear)(8, 8).requires_grad_(False)
    if kind == "trained":
        layer.weight.requires_grad_(True)
    elif kind == "other dtype":
        layer.half()
    elif kind == "own forward":
        layer.forward = lambda x: x
    before = layer.__dict__.get("forward")
    with frozen_in_fast_dtype(layer) as size:
        assert size == 0
        assert layer.__dict__.get("forward") is before
    assert layer.__dict__.get("forward") is before


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(tiny_pair, fails):
    base, tokenizer = tiny_pair
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config)
    before = state_of(model, tokenizer)
    with contextlib.suppress(KeyboardInterrupt), frozen_in_fast_dtype(model), fused(model):
        model(PROBE, labels=PROBE).loss.backward()
        assert differences(before, state_of(model, tokenizer))  # so they'd be seen
        if fails:
            signal.raise_signal(signal.SIGINT)
    model.zero_grad()
    assert differences(before, state_of(model, tokenizer)) == []


def test_texts_are_written_and_losses_measured_as_without(tiny_pair):
    model, tokenizer = tiny_pair
    model.requires_grad_(False)
    prompt = tokenizer("Tell me about the sea.", return_tensors="pt").input_ids
    loss = model(prompt, labels=prompt).loss.item()
    with frozen_in_fast_dtype(model):
        assert model(prompt, labels=prompt).loss.item() == pytest.approx(loss, rel=5e-3)
        written = model.generate(input_ids=prompt, max_new_tokens=8, do_sample=False)
    assert written.shape[1] > prompt.shape[1]
