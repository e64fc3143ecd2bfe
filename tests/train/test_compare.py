"""Comparison: the texts that each adapter gives by itself, shown as text."""

from __future__ import annotations

import html.parser

import pytest
import torch
from conftest import differences, state_of
from peft import LoraConfig, get_peft_model

import nbpeft
from nbpeft.comparison import Comparison

PROMPTS = ["Who are you?", "What is the capital of the river land?", "Hi"]


def by_hand(model, tokenizer, prompt):
    """What a user would type."""
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = model.eval().generate(**ids, max_new_tokens=20, do_sample=False)
    text = tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip()


@pytest.fixture
def tuned(tune):
    tune("one", max_steps=10, learning_rate=1e-2, eval=0)
    return tune


def compared(tune, names, prompts=PROMPTS, **words):
    return nbpeft.compare(
        names, prompts, model=tune.model, tokenizer=tune.tokenizer, max_new_tokens=20, **words
    )


def test_the_texts_are_those_that_a_user_gets_by_hand(tuned):
    table = compared(tuned, ["base", "one"]).to_pandas()
    expected = [by_hand(tuned.model, tuned.tokenizer, prompt) for prompt in PROMPTS]
    assert list(table["base"]) == expected
    nbpeft.attach("one", model=tuned.model)
    expected = [by_hand(tuned.model, tuned.tokenizer, prompt) for prompt in PROMPTS]
    assert list(table["one"]) == expected
    assert list(table["prompt"]) == PROMPTS
    assert list(table["one"]) != list(table["base"])


def test_dropout_and_sampling_settings_do_not_matter(tuned):
    calm = compared(tuned, ["one"])
    tuned.model.train()
    tuned.model.generation_config.do_sample = True
    tuned.model.generation_config.temperature = 3.0
    assert compared(tuned, ["one"]) == calm
    assert tuned.model.training


def test_without_names_and_prompts(tuned):
    table = nbpeft.compare(model=tuned.model, tokenizer=tuned.tokenizer, max_new_tokens=4)
    assert table.columns == ("base", "one")
    assert len(table.prompts) == 3


def test_versions_side_by_side(tuned):
    tuned("one", max_steps=1)
    assert compared(tuned, ["one@1", "one"]).columns == ("one@1", "one")


def test_chats_as_prompts(tuned):
    chat = [{"role": "system", "content": "Talk like a pirate."}, {"role": "user", "content": "Hi"}]
    table = compared(tuned, ["base"], [chat, "Hi"])
    assert table.prompts[0] == "system: Talk like a pirate.\nuser: Hi"
    assert table.answers[0] != table.answers[1]


@pytest.mark.parametrize("attached", ["default", "second", None])
def test_each_adapter_of_a_users_peft_model_answers_as_itself(tune, attached):
    """Its adapters share their layers; which one is active, or none, must not matter."""
    config = LoraConfig(r=2, lora_alpha=64, target_modules="all-linear")
    theirs = get_peft_model(tune.model, config)
    theirs.add_adapter("second", config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    expected = {}
    for name in ("default", "second"):
        theirs.set_adapter(name)
        expected[name] = by_hand(theirs, tune.tokenizer, "Hi")
    theirs.set_adapter("default")
    nbpeft.attach(attached, model=theirs)
    before = state_of(tune.model, tune.tokenizer)
    words = {"model": theirs, "tokenizer": tune.tokenizer, "max_new_tokens": 20}
    compared = nbpeft.compare(["base", *expected], ["Hi"], **words)
    assert dict(zip(expected, compared.answers[0][1:], strict=True)) == expected
    assert len({*compared.answers[0]}) == 3
    assert differences(before, state_of(tune.model, tune.tokenizer)) == []


@pytest.mark.parametrize(
    ("names", "prompts", "word"),
    [(["basee"], ["Hi"], "basee"), (["one@7"], ["Hi"], "version 7"), (["one"], [], "prompt")],
)
def test_what_is_not_there_is_refused_in_one_line(tuned, names, prompts, word):
    with pytest.raises(nbpeft.NbPeftError) as refused:
        compared(tuned, names, prompts)
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)


def test_hostile_text_stays_text():
    hostile = "<script>alert(1)</script></table>\x1b[31m\u202e$x$"
    shown = Comparison(("base", "<b>"), (hostile,), ((hostile, hostile),))._repr_mimebundle_()
    tags = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)

    Reader().feed(shown["text/html"])
    assert not {"script", "b"} & set(tags)
    assert tags.count("table") == 1
    for text in shown.values():
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_gradients_are_not_kept(tuned):
    compared(tuned, ["one"])
    assert torch.is_grad_enabled()
    assert all(p.grad is None for p in tuned.model.parameters())
