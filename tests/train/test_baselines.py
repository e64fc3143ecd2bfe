"""Prompting as the baseline: what really reaches the model, and what it answers then."""

from __future__ import annotations

import pytest

import nbpeft
from nbpeft import variables
from nbpeft.comparison import answers
from nbpeft.data.prompting import THINK
from nbpeft.errors import DataError, RequestError

PROMPTS = ["Who are you?", "What is the capital of the river land?"]
SYSTEM = "Talk like a pirate."


@pytest.fixture
def compare(tiny_pair):
    model, tokenizer = tiny_pair

    def call(names="base", prompts=PROMPTS, **words):
        words = {"max_new_tokens": 20} | words
        return nbpeft.compare(names, prompts, model=model, tokenizer=tokenizer, **words)

    call.model, call.tokenizer = model, tokenizer
    return call


@pytest.fixture
def reached(compare, monkeypatch):
    """The texts that reach `generate`, in its order."""
    seen = []
    original = answers.generate

    def generate(model, tokenizer, prompts, **words):
        seen.extend(tokenizer.decode(ids) for ids in prompts)
        return original(model, tokenizer, prompts, **words)

    monkeypatch.setattr(answers, "generate", generate)
    return seen


def column(compared, name):
    place = compared.columns.index(name)
    return [row[place] for row in compared.answers]


def written(tokenizer, messages):
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def test_the_base_talks_as_the_system_prompt_says(compare, reached):
    compared = compare(system=SYSTEM, think=True)
    assert compared.columns == ("base", "base+system", "base+think")
    assert not any("arr" in text.lower() for text in column(compared, "base"))
    assert all("arr" in text.lower() for text in column(compared, "base+system"))
    chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPTS[0]}]
    assert column(compared, "base+system") == column(compare(prompts=[
        [chat[0], {"role": "user", "content": prompt}] for prompt in PROMPTS
    ]), "base")  # fmt: skip
    asked = [{"role": "user", "content": f"{PROMPTS[0]}\n\n{THINK}"}]
    for messages in (chat, chat[1:], asked):
        assert written(compare.tokenizer, messages) in reached


def test_shots_stand_before_each_prompt_and_no_asked_row_is_one(compare, reached):
    rows = [
        {"prompt": f"Say {word}.", "completion": f"It is {word}."}
        for word in ("river", "frog", "tree", "hill", "king")
    ]
    compared = compare(prompts=None, data=rows, rows=[0, 3], shots=3)
    assert compared.columns == ("base", "base+3 shots")
    assert compared.expected == ("It is river.", "It is hill.")
    plain, shown = reached[:2], reached[2:]
    for text, bare in zip(sorted(shown), sorted(plain), strict=True):
        assert text.endswith(bare)
        for word in ("frog", "tree", "king"):
            asked = [{"role": "user", "content": f"Say {word}."}]
            assert f"{written(compare.tokenizer, asked)}It is {word}.<|end|>" in text
        assert "It is river." not in text
        assert "It is hill." not in text
    figures = compared.figures
    tokens = [len(compare.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in shown]
    assert figures["base+3 shots"].prompt_tokens == sum(tokens) / 2
    assert figures["base"].prompt_tokens < figures["base+3 shots"].prompt_tokens / 3


def test_shots_are_of_what_the_adapter_was_trained_on(tune, compare, reached, monkeypatch):
    space = {"mine": nbpeft.load_data("pirate").to_list()[:40]}
    monkeypatch.setattr(variables, "namespace", lambda: space)
    tune("one", data="mine", max_steps=1)
    held_out = nbpeft.adapters()["one"].data["prompts"]
    compared = compare(["base", "one"], None, shots=32)
    assert compared.columns == ("base", "base+32 shots", "one")
    longest = max(reached, key=len)
    rows = [written(compare.tokenizer, row["messages"])[: -len("<|assistant|>")]
            for row in space["mine"]]  # fmt: skip
    shown = [row for row in rows if row in longest]
    assert len(shown) == 32 == longest.count("<|assistant|>") - sum(
        row.count("<|assistant|>") - 1 for row in shown
    ) - 1  # fmt: skip
    asked = [prompt[-1]["content"] for prompt in held_out]
    assert not [row for row in shown for question in asked if question in row]
    assert compared.figures["one"].held_out_loss is not None
    assert compared.figures["base"].held_out_loss is not None
    assert compared.figures["base+32 shots"].held_out_loss is None
    assert not any("other rows" in note for note in compared.notes)
    space["mine"] = space["mine"][1:]
    assert any("other rows now" in note for note in compare("one", shots=1).notes)
    del space["mine"]
    with pytest.raises(RequestError, match=r"one@1 was trained on, 'mine', .*add --data X"):
        compare("one", shots=1)
    assert compare("one", data="tiny:facts", shots=1).columns == ("base+1 shot", "one")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"shots": 60, "data": "tiny:stories"}, r"base\+60 shots: a prompt of .* fewer --shots"),
        ({"system": "a " * 2100}, r"base\+system: a prompt of 2,\d\d\d tokens and 20 new ones"),
        ({"think": True, "max_new_tokens": 2030}, "leave --think out"),
        ({"shots": 1}, "no data to take shots from: add --data X"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_asked(compare, reached, words, says):
    with pytest.raises(RequestError, match=says) as refused:
        compare(**words)
    assert "\n" not in str(refused.value)
    assert reached == []


def test_a_run_on_nameless_rows_has_no_shots_of_its_own(tune, compare):
    tune("one", max_steps=1)
    with pytest.raises(RequestError, match="one@1 was trained on rows that had no name"):
        compare("one", shots=1)
    with pytest.raises(DataError, match="nosuch"):
        compare("one", shots=1, data="nosuch")


def test_shots_of_a_preference_are_the_better_answers(tune, compare, reached):
    tune("one", objective="dpo", data="tiny:polite", max_steps=1)
    compared = compare("one", shots=3)
    assert not any("other rows" in note for note in compared.notes)
    longest = max(reached, key=len)

    def shown(name):
        return [
            row
            for row in nbpeft.load_data("polite")
            if f"{written(compare.tokenizer, row['prompt'])}{row[name][0]['content']}<|end|>"
            in longest
        ]

    assert (len(shown("chosen")), len(shown("rejected"))) == (3, 0)
