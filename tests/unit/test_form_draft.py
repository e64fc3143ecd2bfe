"""The form's fields: which there are for a pair, and what is read from what is typed into them."""

from __future__ import annotations

import dataclasses

import pytest
from written import EVIL, REQUESTS

from nbpeft.errors import AdapterError, DataError, ModelError, RequestError
from nbpeft.forms.controls import FIRST, MATTERS, UNASKED, controls
from nbpeft.forms.draft import blamed, pair_problem, read, texts_of, words_of
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.request import Request, field_name, options, typed
from nbpeft.settings import Fields


def words(group):
    return [control.word for control in group]


def test_every_option_and_every_field_has_its_place_in_a_form():
    seen = set()
    for objective in objectives:
        every = words(controls("lora", objective.name))
        assert len(set(every)) == len(every)
        assert tuple(every[: len(FIRST)]) == FIRST
        fields = Fields(methods.get("lora"), objective)
        keys = {fields.aliases.get(word, word) for word in every}
        hidden = fields.reserved | {
            w for w, key in fields.aliases.items() if w != key
        }  # CPO's alpha
        assert {*fields.of_method, *fields.of_trainer} - hidden <= keys
        seen |= set(every)
    assert {typed(option.name) for option in options()} - UNASKED <= seen


def test_what_matters_follows_from_the_pair():
    sft, dpo = controls("lora", "sft").matter, controls("prompt", "dpo").matter
    assert words(sft) == [
        "rank", "alpha", "target_modules", "learning_rate", "epochs", "max_steps", "batch_size",
        "max_length",
    ]  # fmt: skip
    assert {"num_virtual_tokens", "beta", "loss"} <= set(words(dpo))
    assert "rank" not in words(controls("prompt", "dpo"))
    assert words(controls("full", "context-distillation").matter)[:2] == ["context", "turns"]
    assert "rubric" not in words(controls("lora", "sft"))
    for method in methods:
        for objective in objectives:
            assert len(controls(method.name, objective.name).matter) <= 18, (method, objective)
    assert set(MATTERS) <= {
        word for m in methods for o in objectives for word in words(controls(m.name, o.name).matter)
    }


# A text that passes for examples, or has spaces around, is no body of a cell either.
TYPED = {id_: request for id_, request in REQUESTS.items() if not id_.startswith("a context ")}


@pytest.mark.parametrize("request_", TYPED.values(), ids=TYPED)
def test_what_a_request_gives_is_read_again_from_the_fields(request_):
    known = controls(request_.method, request_.objective)
    unknown = set(words_of(request_)) - set(words(known))
    own = {field_name(word) for word in unknown} & {option.name for option in options()}
    default = {option.name: option.default for option in options()}
    request_ = dataclasses.replace(request_, fields={}, **{word: default[word] for word in own})
    pair = {"method": request_.method, "objective": request_.objective}
    assert read({**texts_of(words_of(request_), known), **pair}, known) == (request_, {})


def test_fields_of_the_libraries_are_read_as_their_type_wants():
    known = controls("lora", "dpo")
    texts = {
        "name": "a", "use_dora": "true", "beta": "0.3", "loss": "ipo, sft", "lr_scheduler_type":
        "cosine", "optim": "adamw_torch", "layers_to_transform": "[1, 2]", "method": "lora",
        "objective": "dpo",
    }  # fmt: skip
    found, problems = read(texts, known)
    assert problems == {}
    assert dict(found.fields) == {
        "use_dora": True, "beta": 0.3, "loss": ["ipo", "sft"], "lr_scheduler_type": "cosine",
        "optim": "adamw_torch", "layers_to_transform": [1, 2],
    }  # fmt: skip
    assert found.objective == "dpo"


def test_what_cannot_be_read_is_told_of_its_field():
    known = controls("lora", "sft")
    texts = {"name": " ", "rank": "four", "epochs": "2", "learning_rate": "1e-3x"}
    found, problems = read(texts, known)
    assert found is None
    assert problems["rank"] == "rank can't be 'four': it must be a whole number."
    assert set(problems) == {"name", "rank", "learning_rate"}
    assert read({"name": "a", "data": EVIL}, known) == (Request("a", data=EVIL), {})


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (RequestError("max_length 4096 is over the model's window of 2048 tokens."), "max_length"),
        (RequestError("per_device_train_batch_size must be above 0, not -1."), "batch_size"),
        (RequestError("A judge needs a rubric: write …"), "rubric"),
        (RequestError("There is no place 'mars'."), "place"),
        (RequestError("The trainer refuses these settings: …"), ""),
        (DataError("columns: 'x' has no column 'y'."), "columns"),
        (DataError("There is nothing to learn from."), "data"),
        (ModelError("There are two models: a, b."), "model"),
        (ModelError("There is no tokenizer in the kernel: …"), "tokenizer"),
        (AdapterError("An adapter can't be called 'none': …"), "name"),
    ],
)
def test_a_refusal_stands_beside_the_field_that_it_is_about(error, word):
    texts = {"place": "mars", "name": "none", "rubric": "", "from": "", "columns": "", "data": "x"}
    aliases = Fields(methods.get("lora"), objectives.get("sft")).aliases
    assert blamed(error, texts, aliases) == word


def test_a_refused_adapter_to_go_on_from_is_told_there():
    error = AdapterError("There is no adapter 'b'.")
    assert blamed(error, {"name": "a", "from": "b"}, {}) == "from"


def test_a_pair_that_does_not_go_together_is_told():
    for method in methods:
        for objective in objectives:
            told = pair_problem(method, objective)
            assert bool(told) == bool(method.needs - objective.gives)
            assert not told or (method.name in told and objective.name in told)
