"""%peft_attach PATH|hub:owner/name: adapters that plain PEFT, or another shelf, wrote."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import logits
from huggingface_hub import constants
from peft import PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from test_mounts import train_by_hand

import nbpeft
import nbpeft.session
from nbpeft.api import execute_attach
from nbpeft.attaching import AttachRequest
from nbpeft.attaching.folders import UNFIT
from nbpeft.errors import AdapterError
from nbpeft.session import current

SPECIAL = {
    "IA3": {"feedforward_modules": []},
    "ADALORA": {"total_step": 10},
    "C3A": {"block_size": 64},
    "VBLORA": {"vector_length": 64, "num_vectors": 64},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 2, "target_modules": None},
    "TRAINABLE_TOKENS": {"token_indices": [5, 6], "target_modules": None},
}
TYPES = [kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING if kind.value.lower() not in UNFIT]


def config_of(kind, **words):
    cls = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    given = {
        "target_modules": ["q_proj", "v_proj"],
        "num_virtual_tokens": 4,
        **SPECIAL.get(kind, {}),
    }
    fields = {field.name for field in dataclasses.fields(cls)}
    fitting = {k: v for k, v in given.items() if k in fields}
    return cls(task_type="CAUSAL_LM", **(fitting | words))


def made_by_peft(model, folder, config):
    """An adapter that plain PEFT made and wrote, and its logits as PEFT loads it."""
    torch.manual_seed(0)
    wrapped = get_peft_model(copy.deepcopy(model), config)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.add_(0.05 * torch.randn_like(parameter))
    wrapped.save_pretrained(folder)
    return logits(PeftModel.from_pretrained(copy.deepcopy(model), folder))


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.value)
def test_it_answers_as_peft_has_it(tiny_pair, tmp_path, kind, monkeypatch):
    model, _ = tiny_pair
    wanted, base = made_by_peft(model, tmp_path / "their", config_of(kind)), logits(model)
    before = {name: value.clone() for name, value in model.named_parameters()}
    answering = nbpeft.attach(str(tmp_path / "their"), model=model)
    assert torch.equal(logits(answering), wanted)
    assert not torch.equal(wanted[:, -base.shape[1] :], base)
    assert any(p.requires_grad for p in answering.parameters())
    assert nbpeft.save("their", model=model).path.is_dir()
    nbpeft.attach(None, model=model)
    assert torch.equal(logits(model), base)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    monkeypatch.setattr(nbpeft.session, "_current", None)  # another kernel: from the shelf
    assert torch.equal(logits(nbpeft.attach("their", model=model)), wanted)


@pytest.mark.parametrize("words", [{"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"},
                                   {"bias": "all"}, {"modules_to_save": ["lm_head"]}])  # fmt: skip
def test_a_lora_that_rewrites_the_base_leaves_it(tiny_pair, tmp_path, words):
    model, _ = tiny_pair
    wanted = made_by_peft(model, tmp_path / "their", config_of("LORA", **words))
    base = logits(model)
    nbpeft.attach(str(tmp_path / "their"), model=model)
    assert torch.equal(logits(model), wanted)
    nbpeft.attach(None, model=model)
    assert torch.equal(logits(model), base)


def test_only_what_is_changed_is_kept_beside_the_base(tiny_pair, tmp_path):
    model, _ = tiny_pair
    made_by_peft(model, tmp_path / "their", config_of("LORA", r=2))
    nbpeft.attach(str(tmp_path / "their"), model=model)
    (mount,) = current().handle(model).mounts.values()
    size = (tmp_path / "their" / "adapter_model.safetensors").stat().st_size
    assert mount.extra_bytes <= size


def test_a_name_of_its_own_and_a_name_made_of_the_folder_s(tiny_pair, tmp_path):
    model, _ = tiny_pair
    made_by_peft(model, tmp_path / "my adapter!", config_of("LORA"))
    nbpeft.attach(str(tmp_path / "my adapter!"), model=model)
    nbpeft.attach(str(tmp_path / "my adapter!"), model=model, as_="other")
    assert list(nbpeft.adapters()) == ["my_adapter", "other"]
    record = nbpeft.adapters()["other"]
    assert (record.method, record.path) == ("lora", None)
    assert record.data["from"] == str(tmp_path / "my adapter!")


@pytest.mark.parametrize("kind", ["lora", "full", "head", "prompt"])
def test_folders_of_another_shelf(tiny_pair, tmp_path, monkeypatch, kind):
    model, _ = tiny_pair
    answering = nbpeft.attach("mine", model=model, method=kind)
    train_by_hand(answering)
    wanted = logits(answering)
    path = nbpeft.save("mine", model=model).path
    nbpeft.attach(None, model=model)
    shutil.move(path, tmp_path / "moved")
    monkeypatch.setattr(nbpeft.session, "_current", None)
    assert torch.equal(logits(nbpeft.attach(str(tmp_path / "moved"), model=model)), wanted)
    record = nbpeft.adapters()["mine"]
    assert (record.method, record.objective, record.path) == (kind, "by hand", None)


def test_of_another_shelf_only_what_a_run_writes_is_believed(tune, tmp_path, monkeypatch):
    path = tune("mine", max_steps=1, eval=0).record.path
    for name, words in {
        "good": {},
        "odd": {"model": "other", "trainable_parameters": 3},
        "bad": {"data": {"rendering": {"kind": "chat", "run": "x"}, "prompts": [{"a": 1}]}},
    }.items():
        shutil.copytree(path, tmp_path / name)
        record = tmp_path / name / "nbpeft.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | words))
    monkeypatch.setattr(nbpeft.session, "_current", None)
    for name in ("good", "odd", "bad"):
        nbpeft.attach(str(tmp_path / name), model=tune.model, as_=name)
        record = nbpeft.adapters()[name]
        assert record.trainable_parameters > 1_000
        assert ("rendering" in record.data) is (name != "bad")
        assert record.objective == "sft"
    shown = nbpeft.compare(["base", "good", "odd", "bad"], model=tune.model,
                           tokenizer=tune.tokenizer, max_new_tokens=2)  # fmt: skip
    assert shown.columns == ("base", "good", "odd", "bad")


def test_a_folder_of_this_shelf_is_that_adapter(tiny_pair):
    model, _ = tiny_pair
    nbpeft.attach("mine", model=model, method="lora")
    nbpeft.save("mine", model=model)
    nbpeft.attach("adapters/mine/1", model=model)
    assert list(nbpeft.adapters()) == ["mine"]
    assert current().attached() == ["mine@1"]


def test_from_the_hub_s_cache(tiny_pair, tmp_path, monkeypatch):
    """The hub's client itself, offline, over a cache as it leaves it."""
    model, _ = tiny_pair
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    place = cache / "models--owner--their.lora"
    wanted = made_by_peft(model, place / "snapshots" / "abc", config_of("LORA"))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    nbpeft.attach("hub:owner/their.lora", model=model)
    assert torch.equal(logits(model), wanted)
    assert list(nbpeft.adapters()) == ["their.lora"]
    with pytest.raises(AdapterError, match="hub can't be reached"):
        nbpeft.attach("hub:owner/nosuch", model=model)


def spoiled(folder, **words):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | words))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"peft_type": "LORAA"}, "PEFT has no type 'LORAA'. Did you mean lora"),
        ({"peft_type": 3}, "PEFT has no type '3'"),
        ({"peft_type": "XLORA"}, "mixture of other adapters"),
        ({"peft_type": "POLY"}, "task_ids"),
        ({"task_type": "SEQ_CLS"}, "'SEQ_CLS', and this is a CAUSAL_LM"),
        ({"layer_replication": [[0, 2]]}, "repeats layers"),
        ({"alora_invocation_tokens": [1]}, "aLoRA"),
        ({"target_modules": ["c_attn"]}, "c_attn"),
        ({"r": 3}, "can't be loaded: .*size mismatch|shape"),
        ({"r": "\x1b[31m"}, "can't be loaded"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tiny_pair, tmp_path, words, says):
    model, _ = tiny_pair
    made_by_peft(model, tmp_path / "their", config_of("LORA", r=2))
    spoiled(tmp_path / "their", **words)
    before = logits(model)
    with pytest.raises(AdapterError, match=says) as raised:
        nbpeft.attach(str(tmp_path / "their"), model=model)
    assert str(raised.value).isprintable()
    assert torch.equal(logits(model), before)
    assert nbpeft.adapters() == {}


def test_an_adapter_of_a_deeper_or_a_shallower_model_is_refused(tiny_pair, tmp_path):
    model, _ = tiny_pair
    shallow = copy.deepcopy(model)
    shallow.model.layers = shallow.model.layers[:3]
    made_by_peft(model, tmp_path / "deep", config_of("LORA"))
    made_by_peft(shallow, tmp_path / "shallow", config_of("LORA"))
    with pytest.raises(AdapterError, match="another shape: it lacks"):
        nbpeft.attach(str(tmp_path / "shallow"), model=model)
    with pytest.raises(AdapterError, match="another shape: it has weights for"):
        nbpeft.attach(str(tmp_path / "deep"), model=shallow)


def test_a_pickle_is_never_opened(tiny_pair, tmp_path, monkeypatch):
    model, _ = tiny_pair
    made_by_peft(model, tmp_path / "their", config_of("LORA"))
    (tmp_path / "their" / "adapter_model.safetensors").rename(
        tmp_path / "their" / "adapter_model.bin"
    )
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    with pytest.raises(AdapterError, match=r"pickle .*save_pretrained"):
        nbpeft.attach(str(tmp_path / "their"), model=model)


def test_what_a_config_names_is_not_followed(tiny_pair, tmp_path, monkeypatch):
    """No tokenizer, no module and no file is loaded because a config names it."""
    import transformers

    model, _ = tiny_pair
    wanted = made_by_peft(model, tmp_path / "their", config_of("PROMPT_TUNING"))
    spoiled(tmp_path / "their", prompt_tuning_init="TEXT", prompt_tuning_init_text="x",
            tokenizer_name_or_path="evil/evil", tokenizer_kwargs={"trust_remote_code": True},
            auto_mapping={"base_model_class": "X", "parent_library": "evil"})  # fmt: skip
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained",
                        lambda *_, **__: pytest.fail("a tokenizer was loaded"))  # fmt: skip
    assert torch.equal(logits(nbpeft.attach(str(tmp_path / "their"), model=model)), wanted)
    made_by_peft(model, tmp_path / "lora", config_of("LORA"))
    spoiled(tmp_path / "lora", megatron_config={"a": 1}, megatron_core="evil",
            runtime_config={"a": 1}, of_a_newer_peft=3)  # fmt: skip
    nbpeft.attach(str(tmp_path / "lora"), model=model)


def test_another_base_s_name_is_a_note(tiny_pair, tmp_path):
    model, _ = tiny_pair
    made_by_peft(model, tmp_path / "their", config_of("LORA"))
    spoiled(tmp_path / "their", base_model_name_or_path="meta/other\x1b[0m")
    done = execute_attach(AttachRequest.of(str(tmp_path / "their"), {}), model)
    assert "it was made for 'meta/other\\x1b[0m'" in done.notes[1]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "holds no adapter"),
        ({"config.json": "{}"}, "whole model"),
        ({"adapter_config.json": "[1]"}, "holds no config"),
        ({"adapter_config.json": "{"}, "is no JSON"),
        ({"adapter_config.json": "{}"}, "no adapter_model.safetensors"),
        ({"head.json": '{"method": "head"}'}, "can't be loaded"),
        ({"tuned_parameters.json": '{"method": "x"}'}, "no method 'x'"),
    ],
)
def test_what_is_no_adapter_is_refused_in_one_line(tiny_pair, tmp_path, files, says):
    (tmp_path / "there").mkdir()
    for name, text in files.items():
        (tmp_path / "there" / name).write_text(text)
    with pytest.raises(AdapterError, match=says) as raised:
        nbpeft.attach(str(tmp_path / "there"), model=tiny_pair[0])
    assert "\n" not in str(raised.value)


def test_a_path_that_is_no_folder(tiny_pair, tmp_path):
    (tmp_path / "there").write_text("")
    with pytest.raises(AdapterError, match="is a file; give the folder"):
        nbpeft.attach(str(tmp_path / "there"), model=tiny_pair[0])
    with pytest.raises(AdapterError, match=r"no folder .*Did you mean .*there"):
        nbpeft.attach(str(tmp_path / "theer"), model=tiny_pair[0])
    with pytest.raises(AdapterError, match="For the hub type hub:owner/name"):
        nbpeft.attach("owner/name", model=tiny_pair[0])


def test_a_mistyped_name_is_still_a_name(tiny_pair):
    model, _ = tiny_pair
    nbpeft.attach("pirate", model=model, method="lora")
    with pytest.raises(AdapterError, match="Did you mean pirate"):
        nbpeft.attach("pirat", model=model)


@pytest.mark.parametrize(
    "method", ["diff", "last-layers", "full", "head-dense", "dylora", "ptuning"]
)
def test_a_folder_of_another_shelf_is_loaded_whatever_its_method(tune, monkeypatch, method):
    model = nbpeft.attach("mine", model=tune.model, method=method)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02)
    nbpeft.save("mine", model=tune.model)
    own = nbpeft.attach("mine", model=tune.model)
    ids = {"input_ids": torch.arange(4, 28).reshape(2, 12)}
    with torch.no_grad():
        wanted = own.eval()(**ids).logits
    nbpeft.attach(None, model=tune.model)
    Path("adapters").rename("elsewhere")
    monkeypatch.setattr(nbpeft.session, "_current", None)
    loaded = nbpeft.attach("elsewhere/mine/1", model=tune.model)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**ids).logits, wanted)
    nbpeft.attach(None, model=tune.model)
