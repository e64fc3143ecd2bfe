"""Every method on a random model of every architecture that it is legal on."""

from __future__ import annotations

import copy
import re

import architectures
import pytest
import torch
from architectures import outputs

import nbpeft
from nbpeft.architectures import window_of
from nbpeft.config import settings
from nbpeft.defaults import default_max_length
from nbpeft.errors import ModelError, RequestError
from nbpeft.methods import Material, methods
from nbpeft.objectives import objectives
from nbpeft.objectives.sft import SFT
from nbpeft.session.fingerprint import fingerprint

TRAINED = ("llama", "gpt2", "t5")
"""Trained with every method; on the others a method is mounted and its parameters are moved."""

REFUSED = {
    # Ben Zaken et al. train biases, and most newer models have none.
    "bitfit": (
        lambda model: not any(n.endswith("bias") for n, _ in model.named_parameters()),
        "bias",
    ),
    # PEFT's layer over fused experts has no dropout; a base in 4 bits has none of those anyway.
    "qlora": (
        lambda model: model.config.model_type == "mixtral",
        "lora_dropout",
    ),
}
"""Method -> on which models it can't be, and what the error that says so speaks of."""

ROWS = [
    {"prompt": f"Say {word}.", "completion": f"{word}, {word}!"}
    for word in ("red", "green", "blue", "one", "two", "three")
]


@pytest.fixture(scope="session")
def originals():
    return {name: architectures.build(name) for name in architectures.SHAPES}


@pytest.fixture
def model_of(originals):
    return lambda name: copy.deepcopy(originals[name])


@pytest.fixture(scope="session")
def tokenizer(_tiny):
    return _tiny[1]


@pytest.fixture
def no_samples():
    settings().samples = False
    yield
    settings().samples = True


def same(first, second):
    return first.shape == second.shape and torch.equal(first, second)


def pairs():
    for method in methods:
        for name in architectures.SHAPES:
            yield pytest.param(method, name, id=f"{method.name}-{name}")


def refused(method, model):
    on, word = REFUSED.get(method.name, (lambda _: False, ""))
    if not on(model):
        return False
    with pytest.raises((RequestError, ModelError), match=word):
        method.survey(model, dict(method.defaults))
    return True


@pytest.mark.parametrize(("method", "name"), pairs())
def test_a_method_is_mounted_moved_saved_and_loaded(method, name, model_of, tokenizer, tmp_path):
    model = model_of(name)
    if refused(method, model):
        return
    base = {n: (p, p.detach().clone(), p.requires_grad) for n, p in model.named_parameters()}
    before = outputs(model)
    chosen = method.scheduled(dict(method.defaults), 10)
    torch.manual_seed(0)
    mount = method.mount(model, chosen, Material(tokenizer))
    shape = model_of(name).to("meta")  # nothing is there to allocate
    shape.tie_weights()
    survey = method.survey(shape, chosen)
    assert mount.trainable_parameters == survey.trainable_parameters > 0
    assert method.survey(model, chosen) == survey
    assert same(outputs(model), before)
    mount.attach(model)
    with mount.as_peft(model) as whole:
        fresh = outputs(whole)
        trainable = [p for p in whole.parameters() if p.requires_grad]
        assert sum(p.numel() for p in trainable) == mount.trainable_parameters
        with torch.no_grad():
            for parameter in trainable:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    kept = method.finish(mount, model)
    if kept is not mount:
        mount.detach(model)
        kept.attach(model)
    with kept.as_peft(model) as whole:
        moved = outputs(whole)
    assert not same(moved, fresh)
    kept.save(model, tmp_path)
    kept.detach(model)
    assert same(outputs(model), before)
    now = dict(model.named_parameters())
    assert now.keys() == base.keys()
    for path, (parameter, value, flag) in base.items():
        assert now[path] is parameter, path
        assert torch.equal(parameter, value), path
        assert parameter.requires_grad == flag, path
    other = model_of(name)
    loaded = method.load(other, tmp_path)
    loaded.attach(other)
    with loaded.as_peft(other) as whole:
        torch.testing.assert_close(outputs(whole), moved, rtol=1e-5, atol=1e-5)


def by_sft():
    return [method for method in methods if method.needs <= objectives.get("sft").gives]


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("method", by_sft(), ids=lambda method: method.name)
def test_a_method_is_trained_by_sft(method, name, model_of, tokenizer, no_samples):
    model = model_of(name)
    if refused(method, model):
        return
    base = {n: p.detach().clone() for n, p in model.named_parameters()}
    before = outputs(model)
    words = {"max_steps": 2, "batch_size": 3, "max_length": 32, "learning_rate": 1e-2, "eval": 0}
    run = nbpeft.finetune(
        "one", ROWS, model=model, tokenizer=tokenizer, method=method.name, **words
    )
    assert run.metrics["steps"] == 2
    assert same(outputs(model), before)
    tuned = outputs(nbpeft.attach("one", model=model))
    assert not same(tuned, before)
    nbpeft.attach(None, model=model)
    assert same(outputs(model), before)
    assert all(torch.equal(p, base[n]) for n, p in model.named_parameters())
    assert same(outputs(nbpeft.attach("one", model=model)), tuned)


@pytest.mark.parametrize("name", architectures.WRITE)
def test_sft_trains_every_model_that_writes(name, model_of, tokenizer):
    """With a sample and a held-out loss on the way."""
    model = model_of(name)
    before = outputs(model)
    run = nbpeft.finetune(
        "one", ROWS, model=model, tokenizer=tokenizer, max_steps=2, batch_size=3, eval=2,
        max_length=32, learning_rate=1e-2,
    )  # fmt: skip
    assert run.metrics["held_out_loss"] != run.metrics["held_out_loss_before"]
    assert same(outputs(model), before)
    nbpeft.attach("one", model=model)
    assert not same(outputs(model), before)
    found = nbpeft.compare(["base", "one"], ["Say red."], model=model, tokenizer=tokenizer)
    assert found.figures["one"].new_tokens > 0


def refusal(model, tokenizer, **words):
    """Of a run whose data isn't there: the model is looked at first."""
    with pytest.raises(ModelError) as error:
        nbpeft.finetune("one", "no/such/file.jsonl", model=model, tokenizer=tokenizer, **words)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_model_that_writes_nothing_is_refused_by_sft(model_of, tokenizer):
    said = refusal(model_of("bert"), tokenizer)
    assert said.startswith("BertModel reads text and writes none")
    assert "which sft doesn't train" in said
    trains = [o.name for o in objectives if "encoder" in o.reads]
    assert trains
    assert f"--objective {' or '.join(trains)} trains such a model" in said


def test_a_model_that_reads_pictures_is_refused(tokenizer):
    assert refusal(architectures.build_vit(), tokenizer).startswith(
        "ViTModel reads pixel_values, not text"
    )


def test_a_model_that_reads_pictures_beside_text_is_refused(tokenizer):
    said = refusal(architectures.build_llava(), tokenizer)
    assert said.startswith("LlavaForConditionalGeneration ")
    assert "nbpeft tunes text models" in said


@pytest.fixture
def for_decoders():
    objectives.add(SFT(name="planted", summary="", gives=frozenset({"causal logits"})))
    yield "planted"
    objectives.remove("planted")


def test_an_objective_says_what_it_trains(model_of, tokenizer, for_decoders):
    said = refusal(model_of("t5"), tokenizer, objective=for_decoders)
    assert said == (
        "T5ForConditionalGeneration reads a text and writes another (an encoder-decoder), which "
        "planted doesn't train: --objective sft trains such a model."
    )


def test_an_encoder_has_no_answers_to_compare(model_of, tokenizer):
    with pytest.raises(ModelError, match=r"^BertModel writes no text, so there are no answers"):
        nbpeft.compare(["base"], ["Say red."], model=model_of("bert"), tokenizer=tokenizer)


@pytest.mark.parametrize("name", architectures.SHAPES)
def test_the_same_weights_are_the_same_base(name, model_of):
    model, other = model_of(name), architectures.build(name)
    assert fingerprint(model) == fingerprint(other)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    assert fingerprint(model) != fingerprint(other)


@pytest.mark.parametrize("name", architectures.SHAPES)
def test_rows_are_cut_at_the_model_s_window(name, model_of):
    """T5 has none: its positions are relative."""
    window = None if name == "t5" else architectures.WINDOW
    assert (window_of(model_of(name)), default_max_length(model_of(name))) == (
        window,
        window or 1024,
    )


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("gpt2", "c_attn, c_proj, c_fc, lm_head"),
        ("gpt_neox", "query_key_value, dense, dense_h_to_4h, dense_4h_to_h, lm_head"),
        ("t5", "q, k, v, o, wi, wo, lm_head"),
        ("bert", "query, key, value, dense"),
    ],
)
def test_an_unknown_layer_lists_those_that_are_there(name, layers, model_of):
    lora = methods.get("lora")
    with pytest.raises(RequestError, match=re.escape(f"Its linear layers are: {layers}; or type")):
        lora.survey(model_of(name), lora.defaults | {"target_modules": ["q_projj"]})
