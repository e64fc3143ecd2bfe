"""Where methods find their places, which words they take, and what they say of those they can't."""

from __future__ import annotations

import dataclasses
import types
import typing

import pytest
import torch
import transformers as tf
from architectures import SHAPES, build, outputs

from nbpeft.coerce import coerce
from nbpeft.errors import RequestError
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.settings import Fields
from nbpeft.tuners import structure
from nbpeft.tuners.bottleneck import BottleneckLayer


def sample(hint):
    """A value as a body would give it, for a field of this type."""
    alone = typing.get_origin(hint) not in (typing.Union, types.UnionType)
    options = [hint] if alone else [o for o in typing.get_args(hint) if o is not type(None)]
    origins = [typing.get_origin(o) or o for o in options]
    if list[int] in options:
        return [3]
    for kind, value in ((bool, True), (int, 3), (float, 0.5), (list, ["q_proj"]), (dict, {"a": 1})):
        if kind in origins:
            return value
    if typing.Literal in origins:
        return typing.get_args(options[origins.index(typing.Literal)])[0]
    if any(dataclasses.is_dataclass(origin) for origin in origins):
        return {}
    return "word"


@pytest.mark.parametrize("name", ["lora", "adalora", "dylora", "ia3", "ln", "bottleneck"])
def test_every_field_of_the_config_is_settable_or_reserved(name):
    method = methods.get(name)
    fields = Fields(method, objectives.get("sft"))
    hints = typing.get_type_hints(method.config_class())
    for field in dataclasses.fields(method.config_class()):
        if field.name in method.reserved:
            with pytest.raises(RequestError, match="set by nbpeft itself"):
                fields.find(field.name)
            continue
        known = fields.find(field.name)
        value = sample(hints[field.name])
        assert coerce(field.name, value, known.hint) == value


@pytest.mark.parametrize(
    ("architecture", "attention", "feedforward"),
    [
        ("llama", "self_attn.o_proj", "mlp.down_proj"),
        ("qwen2", "self_attn.o_proj", "mlp.down_proj"),
        ("qwen3", "self_attn.o_proj", "mlp.down_proj"),
        ("gpt2", "attn.c_proj", "mlp.c_proj"),
        ("gpt_neox", "attention.dense", "mlp.dense_4h_to_h"),
        ("phi", "self_attn.dense", "mlp.fc2"),
        ("gemma", "self_attn.o_proj", "mlp.down_proj"),
        ("mistral", "self_attn.o_proj", "mlp.down_proj"),
        ("mixtral", "self_attn.o_proj", "mlp"),
        ("bert", "attention.output.dense", "output.dense"),
    ],
)
def test_where_sublayers_end(architecture, attention, feedforward):
    model = build(architecture)
    layers = list(structure.layers(model))
    assert len(layers) == 2
    assert structure.attention_outputs(model) == [f"{layer}.{attention}" for layer in layers]
    assert structure.feedforward_outputs(model) == [f"{layer}.{feedforward}" for layer in layers]


def test_where_sublayers_of_an_encoder_decoder_end():
    model = build("t5")
    ends = {path.rpartition("layer.")[2] for path in structure.attention_outputs(model)}
    assert ends == {"0.SelfAttention.o", "1.EncDecAttention.o"}
    assert len(structure.attention_outputs(model)) == 6
    assert len(structure.feedforward_outputs(model)) == 4
    assert all(path.endswith("DenseReluDense.wo") for path in structure.feedforward_outputs(model))


@pytest.mark.parametrize("architecture", SHAPES)
def test_names_mean_just_the_places_that_were_found(architecture):
    model = build(architecture)
    paths = [path for path, _ in model.named_modules()]
    for find in (structure.attention_outputs, structure.feedforward_outputs, structure.norms):
        means = structure.matcher(structure.names_for(model, find(model)))
        assert {path for path in paths if means(path)} == set(find(model))


def test_norms_of_any_class():
    found = {a: len(structure.norms(build(a))) for a in ("llama", "qwen3", "gpt2", "t5", "bert")}
    assert found == {"llama": 5, "qwen3": 9, "gpt2": 5, "t5": 12, "bert": 5}


@pytest.fixture(scope="module")
def mamba():
    """A model without attention."""
    config = tf.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=64, state_size=4)
    return tf.MambaForCausalLM(config).eval()


@pytest.mark.parametrize("method", ["ia3", "bottleneck"])
def test_an_unknown_architecture_is_told_what_to_type(mamba, method):
    with pytest.raises(RequestError) as error:
        methods.get(method).survey(mamba, {})
    message = str(error.value)
    assert "modules: [" in message
    for linear in ("in_proj", "x_proj", "dt_proj", "out_proj"):
        assert linear in message


def test_places_in_an_unknown_architecture_can_be_named(mamba):
    entry = methods.get("bottleneck")
    named = {"style": "pfeiffer", "feedforward_modules": ["out_proj"]}
    mount = entry.mount(mamba, named)
    assert sum(swap.child == "out_proj" for swap in mount.swaps) == 2
    ia3 = methods.get("ia3").survey(mamba, {"target_modules": ["out_proj"]})
    assert ia3.trainable_parameters == 2 * 32


def test_a_mixture_of_experts_is_adapted_behind_the_experts():
    model, entry = build("mixtral"), methods.get("bottleneck")
    before = outputs(model)
    mount = entry.mount(model, {})
    mount.attach(model)
    adapted = [m.bottleneck_up for m in model.modules() if isinstance(m, BottleneckLayer)]
    networks = [up["default"] for up in adapted if len(up)]
    assert len(networks) == 4
    with torch.no_grad():
        networks[-1].bias += 1.0
    assert not torch.allclose(outputs(model), before, atol=1e-2)


def test_sizes_go_to_equal_shares_of_the_layers():
    config = tf.LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=6, num_attention_heads=4,
        vocab_size=64,
    )  # fmt: skip
    model = tf.LlamaForCausalLM(config)
    methods.get("bottleneck").mount(model, {"bottleneck_size": [1, 2, 3]}).attach(model)
    sizes = [layer.mlp.down_proj.bottleneck_down["default"].out_features
             for layer in model.model.layers]  # fmt: skip
    assert sizes == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("bottleneck", {"bottleneck_size": 0}, "bottleneck_size 0"),
        ("bottleneck", {"bottleneck_size": [1, 2, 3]}, "3 sizes for 2 layers"),
        ("bottleneck", {"style": "hulsby"}, "houlsby or pfeiffer"),
        ("bottleneck", {"activation": "golu"}, "golu"),
        ("bottleneck", {"attention_modules": ["nowhere"]}, "nowhere"),
        ("adalora", {"target_r": 8, "init_r": 8}, "init_r must be the larger"),
        ("adalora", {"init_lora_weights": "pissa"}, "pissa"),
        ("dylora", {"init_lora_weights": "pissa"}, "pissa"),
        ("dylora", {"target_modules": ["embed_tokens"]}, "embed_tokens"),
        ("lora", {"init_lora_weights": "pissa_niter_4"}, "type pissa"),
        ("lora", {"init_lora_weights": "corda"}, "type eva or pissa"),
        ("lora", {"init_lora_weights": "loftq"}, "GPU"),
    ],
)
def test_what_can_not_be_is_one_line_and_changes_nothing(method, settings, said):
    if said == "GPU" and torch.cuda.is_available():
        pytest.skip("LoftQ runs on this machine")
    model, entry = build("llama"), methods.get(method)
    modules = dict(model.named_modules())
    with pytest.raises(RequestError, match=said) as error:
        entry.survey(model, dict(entry.defaults) | settings)
    assert "\n" not in str(error.value)
    assert dict(model.named_modules()) == modules


def test_eva_without_rows_is_one_line_and_changes_nothing():
    model, entry = build("llama"), methods.get("lora")
    modules = dict(model.named_modules())
    with pytest.raises(RequestError, match="eva begins from the rows"):
        entry.mount(model, dict(entry.defaults) | {"init_lora_weights": "eva"})
    assert dict(model.named_modules()) == modules


def test_adalora_plans_its_ranks_by_the_length_of_the_run():
    entry = methods.get("adalora")
    assert entry.scheduled({}, 80) == {"tinit": 10, "tfinal": 40, "deltaT": 1, "total_step": 80}
    assert entry.scheduled({}, 80_000)["deltaT"] == 30_000 // 240
    assert entry.scheduled({"tinit": 3}, 80)["tinit"] == 3
    assert entry.scheduled({}, 2) == {"tinit": 0, "tfinal": 0, "deltaT": 1, "total_step": 2}
    for settings, steps in (({"tinit": 40, "tfinal": 40}, 80), ({}, 1), ({"tinit": -1}, 80)):
        with pytest.raises(RequestError, match=f"this run has {steps}"):
            entry.scheduled(settings, steps)


def test_adalora_plans_anew_where_it_goes_on_from_another_run():
    entry = methods.get("adalora")
    parents = entry.scheduled({"tinit": 70, "tfinal": 5}, 80)
    assert entry.scheduled(parents, 80) == parents, "as --resume does"
    assert entry.scheduled(parents, 20) == entry.scheduled({}, 20)


def test_adalora_begins_with_half_as_much_again():
    model, entry = build("llama"), methods.get("adalora")
    mount = entry.mount(model, dict(entry.defaults) | {"target_r": 4})
    assert mount.shell.peft_config["default"].init_r == 6
