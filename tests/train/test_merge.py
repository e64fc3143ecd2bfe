"""%peft_merge: a folder that plain transformers loads, and a kernel in which nothing is changed."""

from __future__ import annotations

import copy
import json
import logging
import math
import shutil
import warnings
from pathlib import Path

import architectures
import pytest
import torch
from conftest import beside_places, differences, logits, state_of
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from test_elsewhere import TYPES, config_of, made_by_peft
from torch.nn import functional as F  # noqa: N812
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import nbpeft
import nbpeft.session
from nbpeft.errors import AdapterError, ModelError, RequestError, RunError
from nbpeft.merging import drift, layers, tree
from nbpeft.precision import Precision
from nbpeft.precision.layers import compute_dtype
from nbpeft.precision.trap import keep_trainable
from nbpeft.session import current

FEW = {"target_modules": ["q_proj", "v_proj", "up_proj"], "rank": 4}


def grown(model, name, by=0.05, **words):
    """An adapter by hand, its weights moved well away from none; what it answers."""
    torch.manual_seed(sum(map(ord, name)))
    answering = nbpeft.attach(name, model=model, **words)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(by * torch.randn_like(parameter))
    found = logits(answering)
    nbpeft.attach(None, model=model)
    return found


def load(folder, **words):
    model = AutoModelForCausalLM.from_pretrained(folder, **words).eval()
    keep_trainable(model)  # else a CPU with AVX512-BF16 answers by another kernel
    return model


def merge(model, name, to, **words):
    """Merge; the model is as before, bit for bit."""
    tokenizer = words.pop("tokenizer", None)
    before, attached = bits(model), current().attached()
    modules = dict(model.named_modules())
    done = nbpeft.merge(name, to, model=model, tokenizer=tokenizer, **words)
    after = bits(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(m is modules[path] for path, m in model.named_modules())
    assert current().attached() == attached
    return done


def bits(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


REFUSED = {
    **dict.fromkeys(
        ("CARTRIDGE", "CPT", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"),
        "is a soft prompt: it stands in the model's input",
    ),
    "ADAPTION_PROMPT": "computes beside the weights",
    "BEFT": "Base layer has no bias",
    "LILY": "not supported for Lily",
}
"""What of PEFT's types is no change of a weight that this model has; and what says so."""

# What is written


@pytest.mark.parametrize(
    "words",
    [
        {"method": "lora"},
        {"method": "lora", "use_dora": True},
        {"method": "lora", "use_rslora": True, "bias": "all"},
        {"method": "lora", "init_lora_weights": "pissa"},
        {"method": "lora", "init_lora_weights": "olora"},
        {"method": "lora", "modules_to_save": ["lm_head"]},
        {"method": "lora", "target_modules": ["embed_tokens", "q_proj"]},
        {"method": "adalora"},
        {"method": "dylora"},
        {"method": "ia3"},
        {"method": "ln"},
        {"method": "full"},
        {"method": "last-layers"},
    ],
    ids=lambda words: "-".join(map(str, words.values())),
)
def test_the_folder_answers_as_the_adapter(tiny_pair, tmp_path, words):
    """PiSSA and OLoRA among them, whose layers stand on rewritten copies of the base's."""
    model, tokenizer = tiny_pair
    base, wanted = logits(model), grown(model, "a", **words)
    done = merge(model, "a", tmp_path / "m", tokenizer=tokenizer)
    found = logits(load(done.path))
    assert torch.allclose(found, wanted, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(found, base, atol=1e-2)
    assert done.drift.kl < 1e-7
    assert done.drift.base > 1e-4
    assert done.drift.changed == 0
    assert torch.equal(logits(model), base)
    assert torch.equal(logits(nbpeft.attach("a", model=model)), wanted)


@pytest.mark.parametrize("words", [{"target_modules": ["embed_tokens"]},
                                   {"modules_to_save": ["lm_head"]}])  # fmt: skip
def test_one_weight_that_becomes_two_is_no_longer_tied(tiny_pair, tmp_path, words):
    """Those who load it by its config alone must not tie them again."""
    model, _ = tiny_pair
    assert model.lm_head.weight is model.model.embed_tokens.weight
    grown(model, "a", method="lora", **words)
    config = json.loads((merge(model, "a", tmp_path / "m").path / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    assert model.config.tie_word_embeddings is True
    grown(model, "b", method="lora", **FEW)
    config = json.loads((merge(model, "b", tmp_path / "n").path / "config.json").read_text())
    assert config["tie_word_embeddings"] is True


def test_embeddings_that_are_always_one_are_refused(tmp_path):
    model = architectures.build("t5")
    grown_by_hand = nbpeft.attach("a", model=model, method="lora", target_modules=["lm_head"])
    assert grown_by_hand is model
    with pytest.raises(ModelError, match="which are one in T5ForConditionalGeneration"):
        merge(model, "a", tmp_path / "m")


def held(layer):
    """All that a layer and those inside it hold, by identity and as bits."""
    found = {
        f"{path}.{name}": (id(value), repr(value))
        for path, module in layer.named_modules()
        for name, value in module.__dict__.items()
    }
    for name, value in layer.state_dict().items():
        found[f"{name} value"] = value.detach().clone().numpy().tobytes()
    for name, parameter in layer.named_parameters():
        found[f"{name} place"] = (id(parameter), parameter.data_ptr())
    return found


@pytest.mark.parametrize("state", [None, "nf4", "int8"])
def test_nothing_of_base_twin_or_adapter_is_written(tiny_pair, state):
    """By the merge of a layer alone, with no guard around it."""
    model, _ = tiny_pair
    grown(model, "a", method="lora", quantize=state, by=0.2, **FEW)
    nbpeft.attach("a", model=model)
    logits(model)  # int8 layers move their scales at the first call
    layer = model.model.layers[0].self_attn.q_proj
    before = held(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = layers.merged(layer, "default")
    assert differences(before, held(layer)) == []
    assert not torch.equal(alone.weight.data, layer.base_layer.weight.data)


def test_a_plain_lora_gives_the_weights_that_peft_gives(tiny_pair, tmp_path):
    model, _ = tiny_pair
    grown(model, "a", method="lora", **FEW)
    folder = nbpeft.save("a", model=model).path
    theirs = PeftModel.from_pretrained(copy.deepcopy(model), folder).merge_and_unload()
    done = merge(model, "a", tmp_path / "m")
    theirs.save_pretrained(tmp_path / "theirs")
    ours, wanted = (load_file(f / "model.safetensors") for f in (done.path, tmp_path / "theirs"))
    assert ours.keys() == wanted.keys()
    assert all(torch.equal(ours[key], wanted[key]) for key in wanted)


def test_it_is_a_model_and_no_adapter(tiny_pair, tmp_path):
    model, tokenizer = tiny_pair
    grown(model, "a", method="lora", **FEW)
    done = merge(model, "a", tmp_path / "deep" / "er" / "m", tokenizer=tokenizer)
    names = {path.name for path in done.path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not {n for n in names if n.startswith("adapter") or n.endswith((".bin", ".pt"))}
    assert "quantization_config" not in json.loads((done.path / "config.json").read_text())
    assert done.size == sum(path.stat().st_size for path in done.path.iterdir())
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["m"]
    assert "tokenizer.json" not in {
        path.name for path in merge(model, "a", tmp_path / "without").path.iterdir()
    }


@pytest.mark.parametrize("name", architectures.WRITE)
def test_every_shape_of_model(tmp_path, name):
    model = architectures.build(name)
    base = architectures.outputs(model)
    nbpeft.attach("a", model=model, method="lora")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.1 * torch.randn_like(parameter))
    wanted = architectures.outputs(model)
    done = merge(model, "a", tmp_path / "m")
    found = architectures.outputs(type(model).from_pretrained(done.path))
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found, base, atol=1e-2)
    assert done.drift.kl < 1e-7
    assert done.drift.base > 1e-3
    assert done.drift.of == "8 texts begun at random tokens"


def test_a_model_that_gives_no_tokens(tmp_path):
    model = architectures.build("bert")
    nbpeft.attach("a", model=model, method="lora")
    done = merge(model, "a", tmp_path / "m")
    assert done.drift is None
    assert "no drift is measured" in done.line()
    assert torch.allclose(
        architectures.outputs(type(model).from_pretrained(done.path)),
        architectures.outputs(model),
        atol=1e-6,
    )


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.value)
def test_what_peft_made_comes_out_as_it_answers_or_is_refused(tiny_pair, tmp_path, kind):
    model, _ = tiny_pair
    wanted = made_by_peft(model, tmp_path / "their", config_of(kind))
    nbpeft.attach(str(tmp_path / "their"), model=model)
    if kind.value in REFUSED:
        with pytest.raises(RequestError, match=REFUSED[kind.value]) as refused:
            merge(model, "their", tmp_path / "m")
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "m").exists()
        return
    done = merge(model, "their", tmp_path / "m")
    assert torch.allclose(logits(load(done.path)), wanted, atol=1e-3, rtol=1e-4)


def test_adapters_combined_cut_and_adopted(tiny_pair, tmp_path):
    model, _ = tiny_pair
    grown(model, "a", method="lora", **FEW)
    grown(model, "b", method="lora", rank=2)
    grown(model, "d", method="dylora", rank=4)
    for name in ("a+b", "d:2"):
        wanted = logits(nbpeft.attach(name, model=model))
        nbpeft.attach(None, model=model)
        done = merge(model, name, tmp_path / name[1:])
        assert torch.allclose(logits(load(done.path)), wanted, atol=1e-4), name


def test_one_of_a_users_own_peft_model(tiny_pair, tmp_path):
    """Another of its adapters is active, and stays so; with a module saved whole."""
    model, _ = tiny_pair
    torch.manual_seed(0)
    config = LoraConfig(r=4, init_lora_weights=False, modules_to_save=["lm_head"])
    owner = get_peft_model(model, config, "mine")
    owner.add_adapter("other", LoraConfig(r=2, init_lora_weights=False))
    owner.set_adapter("mine")
    with torch.no_grad():
        model.lm_head.modules_to_save["mine"].weight.add_(0.1)
    wanted = logits(owner)
    owner.set_adapter("other")
    before = logits(owner)
    done = nbpeft.merge("mine", tmp_path / "m", model=owner)
    assert torch.allclose(logits(load(done.path)), wanted, atol=1e-4)
    assert torch.equal(logits(owner), before)
    assert not torch.allclose(before, wanted, atol=1e-2)


def test_what_transformers_itself_added_is_merged_and_not_saved_alone(tiny_pair, tmp_path):
    model, _ = tiny_pair
    torch.manual_seed(0)
    model.add_adapter(LoraConfig(r=4, init_lora_weights=False, target_modules=["q_proj"]), "mine")
    wanted = logits(model)
    done = nbpeft.merge("mine", tmp_path / "m", model=model)
    assert torch.allclose(logits(load(done.path)), wanted, atol=1e-4)
    assert model._hf_peft_config_loaded


# Trained on few bits


@pytest.fixture(scope="module")
def on_nf4(_tiny, tmp_path_factory):
    """The folder of a small model, and that of a LoRA that a few steps on its nf4 taught."""
    folder = tmp_path_factory.mktemp("base")
    architectures.build("llama").save_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        patch.setattr(nbpeft.session, "_current", None)
        model = load(folder)
        made = nbpeft.finetune(
            "q", "tiny:pirate", model=model, tokenizer=_tiny[1], method="qlora", rank=8,
            max_steps=12, eval=0, learning_rate=1e-2, batch_size=8,
        )  # fmt: skip
        return folder, made.record.path.absolute()


@pytest.fixture
def quantized(on_nf4, tiny_pair, working_folder):
    """(model, tokenizer) with that adapter on its shelf, as q."""
    folder, adapter = on_nf4
    shutil.copytree(adapter, working_folder / "adapters" / "q" / "1")
    return load(folder), tiny_pair[1]


def nf4(folder):
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(torch.device("cpu")),
    )
    return load(folder, quantization_config=config)


def test_it_goes_into_the_originals(quantized, on_nf4, tmp_path):
    """As the adapter over the base as loaded, which it was never trained on."""
    model, tokenizer = quantized
    over = PeftModel.from_pretrained(load(on_nf4[0]), on_nf4[1])
    done = merge(model, "q", tmp_path / "m", tokenizer=tokenizer)
    found = load(done.path)
    assert torch.allclose(logits(found), logits(over), atol=1e-4, rtol=1e-5)
    assert "quantization_config" not in found.config.to_dict()
    assert (done.into, done.trained_on) == ("originals", "nf4")
    assert 0 < done.drift.kl < 0.5 * done.drift.base
    assert done.notes == ()


def test_where_nf4_is_all_there_is_it_is_what_peft_makes(quantized, on_nf4, tmp_path):
    """Bit for bit; and further from the adapter than the originals are."""
    model, tokenizer = quantized
    theirs = PeftModel.from_pretrained(nf4(on_nf4[0]), on_nf4[1]).merge_and_unload().state_dict()
    originals = merge(model, "q", tmp_path / "originals", tokenizer=tokenizer)
    nbpeft.attach("q", model=model, in_place=True)
    nbpeft.attach(None, model=model)
    into = merge(model, "q", tmp_path / "into", into="nf4", tokenizer=tokenizer)
    ours = load(into.path).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert into.drift.kl > originals.drift.kl


def test_small_changes_are_lost_where_nf4_is_all_there_is_and_that_is_said(
    tiny_pair, tmp_path, capsys
):
    """They lie between two points of the grid, and are rounded back to where they were."""
    model, _ = tiny_pair
    grown(model, "small", method="qlora", by=0.01, **FEW)
    through = merge(model, "small", tmp_path / "through", into="nf4")
    assert through.drift.kl < 0.5 * through.drift.base
    assert through.notes == ()
    nbpeft.attach("small", model=model, in_place=True)
    nbpeft.attach(None, model=model)
    capsys.readouterr()
    lost = merge(model, "small", tmp_path / "nf4", into="nf4")
    assert lost.drift.kl > 0.5 * lost.drift.base
    (said,) = capsys.readouterr().out.splitlines()
    assert said == f"[nbpeft] merged: {lost.line()}"
    assert "most of the adapter is lost" in said
    assert "merge into originals" in " ".join(repr(lost).split())


@pytest.mark.parametrize(("name", "into"), [("plain", "nf4"), ("plain", "int8"), ("q", "int8"),
                                            ("q", "fp4")])  # fmt: skip
def test_into_another_precision_it_is_merged_and_then_quantized(quantized, tmp_path, name, into):
    model, tokenizer = quantized
    grown(model, "plain", method="lora", **FEW)
    whole = merge(model, name, tmp_path / "whole")
    done = merge(model, name, tmp_path / "m", into=into, tokenizer=tokenizer)
    again = load(whole.path)
    Precision().move(again, into)
    found = load(done.path)
    assert torch.equal(logits(found), logits(again))
    assert found.config.quantization_config.to_dict() == again.config.quantization_config.to_dict()
    assert found.is_quantized
    assert done.drift.kl > 0


@pytest.mark.parametrize("into", ["originals", "nf4"])
def test_the_drift_is_that_of_the_folder(quantized, on_nf4, tmp_path, into):
    """Computed from the logits of two fresh models: the adapter on nf4, and what was written."""
    model, tokenizer = quantized
    adapter = PeftModel.from_pretrained(nf4(on_nf4[0]), on_nf4[1])
    done = merge(model, "q", tmp_path / "m", into=into, tokenizer=tokenizer)
    written, kl, changed, seen = load(done.path), 0.0, 0, 0
    record = nbpeft.adapters()["q"]
    for prompt in record.data["prompts"]:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt,
            add_generation_prompt=True, return_tensors="pt", return_dict=True,
        ).input_ids  # fmt: skip
        text = adapter.generate(input_ids=ids, do_sample=False, max_new_tokens=32)
        with torch.no_grad():
            p, q = (m(input_ids=text).logits[0, ids.shape[1] - 1 : -1] for m in (adapter, written))
        kl += float(F.kl_div(q.log_softmax(-1), p.softmax(-1), reduction="sum"))
        changed += int((p.argmax(-1) != q.argmax(-1)).sum())
        seen += len(p)
    assert done.drift.positions == seen
    assert math.isclose(done.drift.kl, kl / seen, rel_tol=0.02)  # fp32, of small numbers
    assert math.isclose(done.drift.changed, changed / seen)


MADE_ANEW = {"weight place", "_parameters", "quant_state", "hf_quantizer"}


def test_the_divergence_is_of_the_merged_model_from_the_adapter():
    """0.5 ln(0.5/0.9) + 0.5 ln(0.5/0.1), which the other way round is 0.368; and 0."""
    adapter = torch.tensor([[0.5, 0.5], [0.2, 0.8]]).log()
    merged = torch.tensor([[0.1, 0.9], [0.2, 0.8]]).log()
    found = drift.distance([adapter[:1], adapter[1:]], [merged[:1], merged[1:]])
    assert math.isclose(found.kl, 0.510826 / 2, rel_tol=1e-5)
    assert (found.changed, found.positions) == (0.5, 2)
    certain = torch.tensor([[0.0, -math.inf]])
    assert drift.distance([certain], [certain]).kl == 0


@pytest.mark.parametrize("attached", [None, "q", "plain"])
@pytest.mark.parametrize("into", ["originals", "nf4", "int8"])
def test_all_is_as_before(quantized, tmp_path, monkeypatch, attached, into):
    talks = logging.getLogger("bitsandbytes.autograd._functions")
    monkeypatch.setattr(talks, "filters", [])  # earlier tests' models went while quantized
    model, tokenizer = quantized
    grown(model, "plain", method="lora", **FEW)
    nbpeft.attach(attached, model=model)
    model.train()
    model.config.use_cache = False
    before, state = state_of(model, tokenizer), current().handle(model).precision.now
    kept, filters = bits(model), [*talks.filters]
    nbpeft.merge("q", tmp_path / "m", into=into, model=model, tokenizer=tokenizer)
    different = differences(before, state_of(model, tokenizer))
    if attached != "q":
        assert all(name.endswith(".weight place") for name in different), different
    else:  # it is quantized anew, to the same bits
        assert {name.rpartition(".")[2] for name in different} <= MADE_ANEW
    assert current().handle(model).precision.now == state
    assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())
    assert talks.filters == filters


def test_base_given_up_and_base_loaded_quantized(quantized, on_nf4, tmp_path):
    model, tokenizer = quantized
    nbpeft.attach("q", model=model, in_place=True)
    with pytest.raises(ModelError, match=r"nf4 for good .* or type --into nf4"):
        merge(model, "q", tmp_path / "m")
    merge(model, "q", tmp_path / "given", into="nf4", tokenizer=tokenizer)
    loaded = nf4(on_nf4[0])
    wanted = grown(loaded, "on", method="lora", by=0.2, **FEW)
    with pytest.raises(ModelError, match=r"no originals to merge into.*or type --into nf4"):
        merge(loaded, "on", tmp_path / "m")
    with pytest.raises(ModelError, match="can't be brought to int8"):
        merge(loaded, "on", tmp_path / "m", into="int8")
    done = merge(loaded, "on", tmp_path / "on", into="nf4")
    assert done.trained_on == "nf4"
    assert not torch.equal(logits(load(done.path)), wanted)
    assert not (tmp_path / "m").exists()


# Refused, and broken off


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"method": "prompt"}, "is a soft prompt"),
        ({"method": "head"}, "is a classifier beside"),
        ({"method": "bottleneck"}, "computes beside the weights"),
        ({"method": "diff"}, "still in training.*nbpeft.save"),
        (
            {"method": "ia3", "quantize": "nf4", "in_place": True},
            "ia3 into whole weights only.*leave --into out",
        ),
        ({"method": "bottleneck", "quantize": "nf4"}, "computes beside the weights"),
    ],
    ids=str,
)
def test_what_is_no_change_of_weights_says_so(tiny_pair, tmp_path, words, says):
    model, _ = tiny_pair
    grown(model, "a", **words)
    with pytest.raises(RequestError, match=says) as refused:
        merge(model, "a", tmp_path / "m", into=words.get("quantize", "originals"))
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "work"]


def test_a_place_that_is_not_free(tiny_pair, tmp_path, working_folder):
    model, _ = tiny_pair
    grown(model, "a", method="lora", **FEW)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "inside").symlink_to(working_folder / "adapters")
    for to, says in {
        "full": "already",
        "full/file": "already",
        "full/file/x": "is a file",
        "link": "is a link",
        "work/adapters": "folder of the adapters",
        "work/adapters/a/9": "folder of the adapters",
        "inside/x": "folder of the adapters",
    }.items():
        with pytest.raises(RequestError, match=says):
            merge(model, "a", tmp_path / to)
    assert (tmp_path / "full" / "file").read_text() == "mine"
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (working_folder / "adapters").exists()
    assert (merge(model, "a", tmp_path / "empty").path / "model.safetensors").is_file()


def test_names(tiny_pair, tmp_path):
    model, _ = tiny_pair
    with pytest.raises(AdapterError, match="There is no adapter 'b'"):
        nbpeft.merge("b", tmp_path / "m", model=model)
    with pytest.raises(RequestError, match="no adapter to merge"):
        nbpeft.merge("base", tmp_path / "m", model=model)
    with pytest.raises(RequestError, match="into can't be 'int4'"):
        nbpeft.merge("b", tmp_path / "m", into="int4", model=model)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()],
                         ids=repr)  # fmt: skip
@pytest.mark.parametrize("into", ["originals", "nf4", "int8"])
def test_a_disk_that_is_full_leaves_nothing(quantized, tmp_path, monkeypatch, error, into):
    """Half of the folder is written by then."""
    model, tokenizer = quantized

    def breaks(tokenizer, place, **_):
        assert (Path(place) / "model.safetensors").is_file()
        raise error

    before = state_of(model, tokenizer)
    monkeypatch.setattr(type(tokenizer), "save_pretrained", breaks)
    wanted = RunError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(wanted) as raised:
        nbpeft.merge("q", tmp_path / "deep" / "m", into=into, model=model, tokenizer=tokenizer)
    if wanted is RunError:
        assert "No space left on device" in str(raised.value)
        assert "\n" not in str(raised.value)
    monkeypatch.undo()
    after = state_of(model, tokenizer)
    assert {k.split(" ")[-1] for k in differences(before, after)} <= {
        "place",
        "environment",
        "threads",
    }
    assert list(tmp_path.iterdir()) == [tmp_path / "work"]


@pytest.mark.parametrize("into", ["originals", "nf4", "int8"])
def test_a_layer_that_fails_in_the_middle(quantized, tmp_path, monkeypatch, into):
    model, tokenizer = quantized
    before, calls = state_of(model, tokenizer), []

    def breaks(layer, name):
        calls.append(layer)
        if len(calls) == 5:
            raise ValueError("NaNs\ndetected")
        return merged(layer, name)

    merged = layers.merged
    monkeypatch.setattr(layers, "merged", breaks)
    with pytest.raises(RequestError, match="PEFT can't merge q@1 \\(qlora\\): NaNs detected"):
        nbpeft.merge("q", tmp_path / "m", into=into, model=model, tokenizer=tokenizer)
    after = state_of(model, tokenizer)
    assert not beside_places(differences(before, after))
    assert list(tmp_path.iterdir()) == [tmp_path / "work"]


def test_broken_values_are_refused(tiny_pair, tmp_path):
    model, _ = tiny_pair
    grown(model, "a", method="lora", by=float("nan"), **FEW)
    with pytest.raises(RequestError, match=r"PEFT can't merge a@1 .*NaNs"):
        merge(model, "a", tmp_path / "m")


def test_on_a_gpu_merged_layers_wait_in_host_memory(tiny_pair, tmp_path, monkeypatch):
    """The GPU is played by a flag: each layer comes for its call, and goes."""
    model, _ = tiny_pair
    wanted, moved = grown(model, "a", method="lora", **FEW), []
    monkeypatch.setattr(tree, "on_host", lambda _: False)
    visits = tree._visits
    monkeypatch.setattr(tree, "_visits", lambda *given: moved.append(given[0]) or visits(*given))
    done = merge(model, "a", tmp_path / "m")
    assert len(moved) == 3 * len(model.model.layers)
    assert done.drift.kl < 1e-7
    assert torch.allclose(logits(load(done.path)), wanted, atol=1e-4)


def test_a_visitor_comes_before_its_call_and_goes_after():
    seen = []

    class Layer(torch.nn.Linear):
        def to(self, device):
            seen.append(str(device))
            return self

        def forward(self, x):
            seen.append("call")
            return super().forward(x)

    layer = Layer(2, 2)
    tree._visits(layer, torch.device("cuda:0"))
    layer(torch.ones(1, 2))
    assert seen == ["cpu", "cuda:0", "call", "cpu"]


def test_a_head_that_is_read_and_refused_draws_nothing(tiny_pair, tmp_path, monkeypatch):
    """A head is drawn at random before its weights are read."""
    model, _ = tiny_pair
    nbpeft.attach("a", model=model, method="head")
    nbpeft.save("a", model=model)
    nbpeft.attach(None, model=model)
    monkeypatch.setattr(nbpeft.session, "_current", None)
    before = torch.get_rng_state()
    with pytest.raises(RequestError, match="is a classifier beside"):
        nbpeft.merge("a", tmp_path / "m", model=model)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_prompts_of_another_tokenizer_are_left(quantized, tmp_path):
    """Chats can't be written by one without a template: the drift is measured all the same."""
    model, tokenizer = quantized
    tokenizer.chat_template = None
    done = merge(model, "q", tmp_path / "m", tokenizer=tokenizer)
    assert done.drift.positions > 0
