"""The base in few bits: the state that loading it quantized gives; the way back, bit for bit."""

from __future__ import annotations

import logging

import architectures
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nbpeft.errors import ModelError, RequestError
from nbpeft.precision import AS_LOADED, Precision, checks, originals
from nbpeft.precision.layers import QuantizedLayer, compute_dtype, quantizable
from nbpeft.precision.trap import biases_kept, keep_trainable, trainable
from nbpeft.session.fingerprint import fingerprint

KINDS = ("nf4", "fp4", "int8")
IDS = torch.arange(3, 27).reshape(2, 12)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """`saved("llama", torch.float32)` is a folder with a random model's checkpoint."""
    made = {}

    def folder(name, dtype):
        if (name, dtype) not in made:
            model = architectures.build(name).to(dtype)
            with torch.no_grad():
                for path, parameter in model.named_parameters():
                    if path.endswith("bias"):
                        parameter.normal_(generator=torch.Generator().manual_seed(1))
            made[name, dtype] = tmp_path_factory.mktemp(name)
            model.save_pretrained(made[name, dtype])
        return made[name, dtype]

    return folder


def load(folder, dtype, kind=None):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = {
        None: None,
        "int8": BitsAndBytesConfig(load_in_8bit=True),
    }.get(
        kind,
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=kind or "nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype(torch.device("cpu")),
        ),
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, quantization_config=config)
    keep_trainable(model)  # else a CPU with AVX512-BF16 answers by another kernel
    return model.eval()


def answers(model):
    with torch.no_grad():
        return model(IDS).logits


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def shown(value):
    """An attribute without its address."""
    return value.__dict__ if type(value).__name__.endswith("HfQuantizer") else value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("llama", torch.float32),
        ("llama", torch.bfloat16),
        ("gpt2", torch.float32),  # Conv1D, with biases
        ("phi", torch.float16),
        ("qwen3", torch.bfloat16),
    ],
    ids=str,
)
def test_it_is_what_loading_it_quantized_gives(saved, name, dtype, kind):
    model, loaded = load(saved(name, dtype), dtype), load(saved(name, dtype), dtype, kind)
    Precision().move(model, kind)
    assert equal(bits(model), bits(loaded))
    assert torch.equal(answers(model), answers(loaded))
    assert model.config.to_dict() == loaded.config.to_dict()
    for path, module in loaded.named_modules():
        ours = model.get_submodule(path)
        assert type(ours) is type(module)
        assert ours.__dict__.keys() ^ module.__dict__.keys() <= {"_is_hf_initialized"}, path
    quantizer, own = loaded.hf_quantizer.__dict__.copy(), model.hf_quantizer.__dict__.copy()
    assert sorted(own.pop("modules_to_not_convert")) == sorted(
        quantizer.pop("modules_to_not_convert")
    )
    assert (
        own.pop("quantization_config").to_dict() == quantizer.pop("quantization_config").to_dict()
    )
    assert own == quantizer
    flags = ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized", "quantization_method")
    assert {n: model.__dict__.get(n) for n in flags} == {n: loaded.__dict__.get(n) for n in flags}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bert", "gemma"])
def test_there_and_back_is_the_same_bits_in_the_same_objects(name, kind):
    model = architectures.build(name)
    before, objects = bits(model), dict(model.named_parameters())
    attributes, config = dict(model.__dict__), dict(model.config.__dict__)
    modules, outputs = dict(model.named_modules()), architectures.outputs(model)
    precision = Precision()
    precision.move(model, kind)
    assert not torch.equal(architectures.outputs(model), outputs)
    precision.move(model, AS_LOADED)
    assert equal(bits(model), before)
    assert all(p is objects[n] for n, p in model.named_parameters())
    assert all(m is modules[n] for n, m in model.named_modules())
    assert torch.equal(architectures.outputs(model), outputs)
    assert model.__dict__ == attributes
    assert model.config.__dict__ == config


def test_from_state_to_state(saved):
    model = load(saved("llama", torch.float32), torch.float32)
    before, precision, found = answers(model), Precision(), {}
    for state in ("nf4", "int8", "fp4", "nf4", AS_LOADED, "int8", AS_LOADED):
        precision.move(model, state)
        assert precision.now == state
        assert torch.equal(answers(model), found.setdefault(state, answers(model)))
    assert torch.equal(found[AS_LOADED], before)
    assert len({tuple(value.flatten().tolist()) for value in found.values()}) == len(found)


def test_embeddings_norms_output_and_buffers_are_left_alone():
    model = architectures.build("llama")
    kept = {
        name: tensor
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if "proj" not in name
    }
    assert {"lm_head.weight", "model.embed_tokens.weight", "model.rotary_emb.inv_freq"} < set(kept)
    versions = {name: (tensor._version, tensor.data_ptr()) for name, tensor in kept.items()}
    Precision().move(model, "nf4")
    now = dict([*model.named_parameters(), *model.named_buffers()])
    assert all(now[name] is tensor for name, tensor in kept.items())
    assert versions == {name: (t._version, t.data_ptr()) for name, t in kept.items()}


def test_the_checkpoint_keeps_what_it_holds_and_memory_what_it_does_not(saved):
    """A weight that the user changed isn't in the file any more."""
    model = load(saved("llama", torch.float32), torch.float32)
    same, changed = model.model.layers[0].self_attn.q_proj, model.model.layers[1].self_attn.q_proj
    with torch.no_grad():
        changed.weight[0, 0] += 1
    before, precision = bits(model), Precision()
    precision.move(model, "nf4")
    assert (changed.weight.numel(), same.weight.numel()) == (32 * 32, 0)
    assert precision.place == "checkpoint"
    precision.move(model, AS_LOADED)
    assert equal(bits(model), before)


def test_a_sharded_checkpoint_keeps_them_too(tmp_path):
    architectures.build("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    model = load(tmp_path, torch.float32)
    before, precision = bits(model), Precision()
    precision.move(model, "int8")
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.int8
    assert all(layer.base.weight.numel() == 0 for layer in precision._layers["int8"])
    precision.move(model, AS_LOADED)
    assert equal(bits(model), before)


def test_a_checkpoint_that_was_written_over_meanwhile(saved, tmp_path):
    """The model stays whole, in the state that it has, and works."""
    load(saved("llama", torch.float32), torch.float32).save_pretrained(tmp_path)
    model, precision = load(tmp_path, torch.float32), Precision()
    precision.move(model, "nf4")
    before = answers(model)
    save_file({"other": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="has changed since"):
        precision.move(model, AS_LOADED)
    assert precision.now == "nf4"
    assert model.is_loaded_in_4bit
    assert torch.equal(answers(model), before)


@pytest.mark.parametrize("error", [RuntimeError("full"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("start", [AS_LOADED, "int8"])
def test_a_move_that_breaks_off(saved, monkeypatch, start, error):
    model, precision = load(saved("llama", torch.float32), torch.float32), Precision()
    whole = bits(model)
    precision.move(model, start)
    before, calls = answers(model), []
    fill = QuantizedLayer.fill

    def breaks(layer, quantizer):
        calls.append(layer)
        if len(calls) == 4:
            raise error
        fill(layer, quantizer)

    monkeypatch.setattr(QuantizedLayer, "fill", breaks)
    with pytest.raises(type(error)):
        precision.move(model, "nf4")
    assert precision.now == start
    assert torch.equal(answers(model), before)
    precision.move(model, AS_LOADED)
    assert equal(bits(model), whole)


def test_in_place_is_for_good(saved):
    model = load(saved("llama", torch.float32), torch.float32)
    loaded, precision = load(saved("llama", torch.float32), torch.float32, "nf4"), Precision()
    precision.move(model, "nf4", in_place=True)
    assert torch.equal(answers(model), answers(loaded))
    assert all(layer.base.weight.numel() == 0 for layer in precision._layers["nf4"])
    assert (precision.given_up, precision.home) == (True, "nf4")
    for state in (AS_LOADED, "int8"):
        with pytest.raises(ModelError, match="for good"):
            precision.move(model, state)
    assert torch.equal(answers(model), answers(loaded))


def test_in_place_where_it_is_quantized_already():
    """The originals, which were kept in memory, go."""
    model, precision = architectures.build("llama"), Precision()
    precision.move(model, "nf4")
    before = answers(model)
    assert all(layer.base.weight.numel() > 0 for layer in precision._layers["nf4"])
    precision.move(model, "nf4", in_place=True)
    assert all(layer.base.weight.numel() == 0 for layer in precision._layers["nf4"])
    assert precision.given_up
    assert torch.equal(answers(model), before)


class TestOnAGpu:
    """A model that lies elsewhere than in host memory; the GPU is played by a flag."""

    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch):
        monkeypatch.setattr(originals, "on_host", lambda _: False)

    def test_host_memory_keeps_the_originals(self, saved):
        model, precision = load(saved("llama", torch.float32), torch.float32), Precision()
        precision.move(model, "nf4")
        assert precision.place == "host"
        kept = [away.original for away in precision._away]
        assert {type(original) for original in kept} == {originals.InMemory}

    def test_without_room_the_checkpoint_does(self, saved, monkeypatch):
        monkeypatch.setattr(originals, "free_host_memory", lambda: 0)
        model, precision = load(saved("llama", torch.float32), torch.float32), Precision()
        precision.move(model, "nf4")
        assert precision.place == "checkpoint"

    def test_with_neither_it_asks(self, monkeypatch):
        monkeypatch.setattr(originals, "free_host_memory", lambda: 0)
        model, precision = architectures.build("llama"), Precision()
        before = bits(model)
        with pytest.raises(ModelError, match="type --in-place"):
            precision.move(model, "nf4")
        assert (precision.now, equal(bits(model), before)) == (AS_LOADED, True)
        precision.move(model, "nf4", in_place=True)
        assert precision.given_up


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_bytes_are_those_foreseen(name, kind):
    model = architectures.build(name)
    counted = checks.check(model, kind)
    assert counted.as_loaded == sum(p.numel() * p.element_size() for p in model.parameters())
    Precision().move(model, kind)
    held = {id(t): t for t in tensors(model)}
    # Tables of codes are shared by all layers, and counted for each.
    tables = 4 * (16 + 256 + 1) * len(list(model.modules()))
    found = sum(t.numel() * t.element_size() for t in held.values())
    assert found <= counted.quantized <= found + tables


def tensors(model):
    """What the model's weights take: parameters, and what is beside them."""
    for parameter in model.parameters():
        yield parameter.data
        state = parameter.__dict__.get("quant_state")
        scales = parameter.__dict__.get("SCB")
        if state is not None:
            yield from (state.absmax, state.code, state.offset)
            yield from (state.state2.absmax, state.state2.code)
        if scales is not None:
            yield scales


def test_fused_experts_are_refused_with_their_share():
    model = architectures.build("mixtral")
    before = bits(model)
    with pytest.raises(ModelError, match=r"\d+% of its weights would stay as they are"):
        Precision().move(model, "nf4")
    assert equal(bits(model), before)


def test_a_model_without_linear_layers_is_refused():
    model = architectures.build("llama")
    for path, _ in list(quantizable(model)):
        model.set_submodule(path, nn.Identity())
    with pytest.raises(ModelError, match="100% of its weights would stay"):
        checks.check(model, "nf4")


def test_a_model_over_several_devices_is_refused():
    from accelerate.hooks import ModelHook, add_hook_to_module

    model = architectures.build("llama")
    add_hook_to_module(model.model.layers[0], ModelHook())
    with pytest.raises(ModelError, match="spread over several devices"):
        Precision().move(model, "nf4")


def test_without_bitsandbytes_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    with pytest.raises(RequestError, match="pip install bitsandbytes"):
        Precision().move(architectures.build("llama"), "int8")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_was_loaded_quantized(saved, kind):
    model = load(saved("llama", torch.float32), torch.float32, kind)
    assert checks.loaded_as(model) == kind
    with pytest.raises(ModelError, match=f"loaded quantized \\({kind}\\)"):
        Precision(kind).move(model, "nf4" if kind == "int8" else "int8")


def test_what_the_user_switched_meanwhile_is_as_they_left_it():
    """Modes and devices go with the model, not with the state."""
    model, precision = architectures.build("llama"), Precision()
    precision.move(model, "nf4")
    model.train()
    precision.move(model, AS_LOADED)
    assert all(module.training for module in model.modules())
    precision.move(model, "nf4")
    assert all(module.training for module in model.modules())


def test_int8_layers_do_not_talk(caplog):
    model, precision = architectures.build("llama"), Precision()
    precision.move(model, "int8")
    with caplog.at_level(logging.WARNING):
        answers(model)
    assert "inputs will be cast" not in caplog.text
    precision.move(model, AS_LOADED)
    assert logging.getLogger("bitsandbytes.autograd._functions").filters == []


def gradients(model):
    """Of an embedding below all quantized layers."""
    model.train()
    model.get_input_embeddings().weight.requires_grad_(True)
    model(IDS).logits.square().sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    model.zero_grad()
    return gradient


def test_an_inference_does_not_close_the_way_for_gradients(monkeypatch):
    """As on a CPU with AVX512-BF16, where bitsandbytes packs what it may at an inference."""
    from bitsandbytes.nn import modules

    monkeypatch.setattr(modules, "has_avx512bf16", lambda: True)
    model = architectures.build("llama")
    Precision().move(model, "nf4")
    answers(model)
    layer = model.model.layers[0].self_attn.q_proj
    assert "packing_format_for_cpu" not in layer.weight.quant_state.__dict__ or (
        not layer.weight.quant_state.packing_format_for_cpu
    )
    assert gradients(model).abs().sum() > 0


def test_a_layer_that_was_packed_by_an_inference_is_unpacked():
    """Of a model that the user loaded in 4 bits, and asked, before nbpeft saw it."""
    from bitsandbytes.functional import _convert_weight_packed_for_cpu as pack
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(128, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4").to("cpu")
    weight, x = layer.weight.data.clone(), torch.randn(3, 128)
    before = layer(x)
    layer.support_avx512bf16_for_cpu = True
    layer.weight.data, layer.weight.quant_state = pack(weight, layer.weight.quant_state)
    keep_trainable(layer)
    assert not layer.support_avx512bf16_for_cpu
    assert torch.equal(layer.weight.data, weight)
    assert torch.allclose(layer(x), before, atol=0.02)  # packing has rounded the scales to bf16


@pytest.fixture
def packed(monkeypatch):
    """A model that was loaded in 4 bits and asked, where bitsandbytes packs: `pack(model)`."""
    from bitsandbytes.functional import _convert_weight_packed_for_cpu as pack
    from bitsandbytes.nn import Linear4bit

    def packing(model):
        for layer in model.modules():
            if isinstance(layer, Linear4bit):
                layer.support_avx512bf16_for_cpu = True
                layer.weight.data, layer.weight.quant_state = pack(
                    layer.weight.data, layer.weight.quant_state
                )

    return packing


def test_packing_makes_no_other_model_of_it(packed, tiny_pair):
    model, _ = tiny_pair
    Precision().move(model, "nf4")
    before = fingerprint(model)
    packed(model)
    shapes = [p.shape for p in model.parameters()]
    assert fingerprint(model) == before
    assert fingerprint(model) == before, "remembered"
    assert [p.shape for p in model.parameters()] == shapes


def test_what_was_packed_is_packed_again_bit_for_bit(packed, tiny_pair):
    model, _ = tiny_pair
    Precision().move(model, "nf4")
    packed(model)
    layer = model.model.layers[0].self_attn.q_proj
    state = layer.weight.quant_state
    before = layer.weight.data.clone(), dict(vars(state).items())
    with trainable(model):
        assert not state.packing_format_for_cpu
        assert gradients(model).abs().sum() > 0
    assert torch.equal(layer.weight.data, before[0])
    assert layer.weight.quant_state is state
    assert vars(state).keys() == before[1].keys()
    assert all(vars(state)[name] is value for name, value in before[1].items())
    assert layer.support_avx512bf16_for_cpu


def test_a_bias_that_is_trained_stays_where_it_lies():
    """Bitsandbytes would give it other storage, in the dtype that the layer computes in."""
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(128, 64, compute_dtype=torch.bfloat16, quant_type="nf4").to("cpu")
    keep_trainable(layer)
    place = layer.bias.data_ptr()
    with biases_kept(layer):
        layer(torch.randn(3, 128)).sum().backward()
    assert (layer.bias.data_ptr(), layer.bias.dtype) == (place, torch.float32)
    assert layer.bias.grad.abs().sum() > 0
    assert layer.compute_dtype == torch.bfloat16
