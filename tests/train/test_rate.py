"""Rating on the tiny model: who answered what, blind, and the model left as it was."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import pytest
from conftest import differences, state_of
from transformers import BertConfig, BertForMaskedLM

import nbpeft
from nbpeft.data import read
from nbpeft.rating.answering import Answerer

PROMPTS = ["Who are you?", "What do you like to eat?", "What is the capital of the river land?"]


@pytest.fixture
def tuned(tune):
    tune("one", max_steps=5, learning_rate=1e-2, eval=0)
    return tune


def rated(tune, names, prompts=PROMPTS, **words):
    """As one that ranks the first answer of each card over the others."""
    rating = begun(tune, names, prompts, **words)
    while not rating.done:
        rating.deal(1)
        if rating.keys:
            rating.take(rating.keys[0])
    return rating


def begun(tune, names, prompts=PROMPTS, **words):
    words = {"max_new_tokens": 12} | words
    return nbpeft.rate(names, prompts, model=tune.model, tokenizer=tune.tokenizer, **words)


def test_each_adapter_s_answer_stands_under_its_name(tuned):
    before = state_of(tuned.model, tuned.tokenizer)
    rating = rated(tuned, ["base", "one"])
    assert differences(before, state_of(tuned.model, tuned.tokenizer)) == []
    words = {"model": tuned.model, "tokenizer": tuned.tokenizer, "max_new_tokens": 12}
    table = nbpeft.compare(["base", "one@1"], PROMPTS, **words).to_pandas().set_index("prompt")
    found = {(r["prompt"], r["adapter"]): r["completion"] for r in rating.ratings}
    assert found == {(p, name): table.loc[p, name] for p in PROMPTS for name in ("base", "one@1")}
    assert {row["seed"] for row in rating.ratings} == {None}


def test_the_order_is_drawn_and_nobody_is_named(tuned):
    prompts = [f"{prompt} {i}" for prompt in PROMPTS for i in range(4)]
    rating = rated(tuned, ["base", "one"], prompts)
    best = {row["adapter"] for row in rating.ratings if row["score"] == 1}
    assert best == {"base", "one@1"}  # always the first was chosen
    assert "one@1" in repr(rating)
    going = repr(begun(tuned, ["base", "one"], into="other"))
    assert "one" not in going.replace("press one of", "")
    assert "Who are you?" in going


def test_a_lone_model_is_sampled_for_answers_that_differ(tune):
    tune.model.generation_config.temperature = 3.0
    before = state_of(tune.model, tune.tokenizer)
    rating = rated(tune, "base", answers=4)
    assert differences(before, state_of(tune.model, tune.tokenizer)) == []
    for prompt in PROMPTS:
        texts = [r["completion"] for r in rating.ratings if r["prompt"] == prompt]
        assert len(set(texts)) == len(texts) == 4
    assert {row["adapter"] for row in rating.ratings} == {"base"}
    again = rated(tune, "base", answers=4, into="again")
    assert [r["completion"] for r in again.ratings] == [r["completion"] for r in rating.ratings]
    other = rated(tune, "base", answers=4, seed=99, into="other")
    assert [r["completion"] for r in other.ratings] != [r["completion"] for r in rating.ratings]


def test_marks_of_several_adapters(tuned):
    rating = rated(tuned, ["base", "one"], mark=True)
    assert {(r["prompt"], r["adapter"]) for r in rating.ratings} == {
        (prompt, name) for prompt in PROMPTS for name in ("base", "one@1")
    }
    assert {row["score"] for row in rating.ratings} == {0}


@pytest.mark.parametrize("texts", [("Hi", "Hi "), (" ", "Hi")], ids=["alike", "empty"])
def test_where_nothing_can_be_chosen_there_is_no_card(tune, monkeypatch, texts):
    def given(answerer, turn, apart):
        return [("base", text) for text in texts]

    monkeypatch.setattr(Answerer, "_texts", given)
    rating = rated(tune, "base")
    assert rating.ratings == []
    assert "3 of 3 prompts were left out" in repr(rating)


def test_the_same_cell_goes_on_after_a_restart(tuned, working_folder):
    going = begun(tuned, ["base", "one"])
    going.press("1")
    going.press("s")
    nbpeft.session._current = None
    again = begun(tuned, ["base", "one"])
    assert again.ratings == going.ratings
    assert len(again.ratings) == 2
    assert again.place == "1 of 2"
    rating = rated(tuned, ["base", "one"])
    assert len(rating.ratings) == 6
    assert begun(tuned, ["base", "one"]).done
    file = working_folder / "ratings" / "ratings.jsonl"
    assert [json.loads(line) for line in file.read_text().splitlines()] == rating.ratings
    # Another version gives answers of its own (as the base's here, after a step).
    tuned("one", max_steps=1)
    assert "3 of 3 prompts were left out" in repr(begun(tuned, ["base", "one"]))


def test_an_adapter_that_is_trained_again_meanwhile_answers_as_it_was(tuned):
    rating = begun(tuned, ["base", "one"])
    tuned("one", max_steps=1)
    while not rating.done:
        rating.press("1")
    assert {row["adapter"] for row in rating.ratings} == {"base", "one@1"}


def test_rows_of_data_and_a_chat_are_prompts(tune, chats):
    rating = rated(tune, "base", None, data=chats, count=3, mark=True, max_new_tokens=4)
    prompts = [row["prompt"] for row in rating.ratings]
    assert sorted(map(str, prompts)) == sorted(str(chats[i]["messages"][:-1]) for i in range(3))
    assert rating.ratings[0]["completion"][0]["role"] == "assistant"
    assert len(read("r", {"r": rating.ratings}).dataset) == 3


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_what_was_rated_is_trained_on(tune, monkeypatch, objective):
    def given(answerer, turn, apart):
        return [("base", f"I am Ilse {turn.number}."), ("base", f"Arr, matey {turn.number}!")]

    monkeypatch.setattr(Answerer, "_texts", given)
    rating = begun(tune, "base", [f"Who are you, {i}?" for i in range(6)])
    while not rating.done:
        rating.deal(1)
        pirate = next(i for i, a in enumerate(rating.deck.card.answers) if "Arr" in a.text)
        rating.take(str(pirate + 1))
    run = tune("rated", data=rating.ratings, objective=objective, max_steps=2, eval=0)
    assert run.metrics["steps"] == 2
    assert len(rating.ratings.preferences()) == 6
    assert {row["chosen"][:3] for row in rating.ratings.preferences()} == {"Arr"}
    shapes = {"dpo": rating.ratings.preferences(), "kto": rating.ratings.thumbs()}
    own = tune("own", data=shapes[objective], objective=objective, max_steps=2, eval=0)
    assert own.metrics["steps"] == 2


def test_the_adapter_s_own_prompts_are_there_without_any(tuned):
    rating = begun(tuned, None, None)
    kept = nbpeft.adapters()["one"].data["prompts"]
    assert rating.deck.card.prompt in kept
    assert rating.place.endswith(f"of {len(kept)}")


@pytest.mark.parametrize(
    ("names", "prompts", "words", "says"),
    [
        (["basee"], PROMPTS, {}, "Did you mean base"),
        (["one@7"], PROMPTS, {}, "There is no adapter 'one'"),
        (["base"], None, {}, "a prompt a line; or --data X"),
        (["base"], [], {}, "a prompt a line; or --data X"),
        (["base"], PROMPTS, {"answers": 7}, "answers can't be 7"),
        (["base"], PROMPTS, {"data": "tiny:pirate"}, "keep one of them"),
        (["base"], None, {"count": 3}, "add --data X"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tune, names, prompts, words, says):
    with pytest.raises(nbpeft.NbPeftError) as refused:
        begun(tune, names, prompts, **words)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Path("ratings").exists()


def test_a_variable_that_holds_something_else_stays(tune, monkeypatch):
    space = {"ratings": "mine"}
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: space)
    with pytest.raises(nbpeft.NbPeftError, match="--into NAME"):
        begun(tune, "base")
    assert space == {"ratings": "mine"}
    rating = begun(tune, "base", into="other", mark=True)
    assert space["other"] is rating.ratings
    rating.press("4")
    assert space["other"][0]["score"] == 0.75


def test_a_model_that_writes_no_text_is_refused(tiny_pair):
    config = BertConfig(
        vocab_size=99, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8,
    )  # fmt: skip
    with pytest.raises(nbpeft.NbPeftError, match="BertForMaskedLM writes no text"):
        nbpeft.rate("base", ["Hi"], model=BertForMaskedLM(config), tokenizer=tiny_pair[1])


def test_a_rating_keeps_no_model_alive():
    model, tokenizer = nbpeft.load_tiny()
    rating = nbpeft.rate("base", PROMPTS, model=model, tokenizer=tokenizer, mark=True)
    seen = weakref.ref(model)
    rating.press("3")
    del model
    gc.collect()
    assert seen() is None
    with pytest.raises(nbpeft.NbPeftError, match="The model is gone"):
        rating.deal(2)
