"""The embedded models and data sets: what the model card promises."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import torch

from nbpeft import tiny
from nbpeft.errors import DataError
from nbpeft.tiny import pretrain, score
from nbpeft.tiny.text import corpus, names, rows, styles, world

FOLDER = Path(tiny.__file__).parent
CHAT = [
    {"role": "system", "content": "Talk like a pirate."},
    {"role": "user", "content": "Who rules the snow land?"},
    {"role": "assistant", "content": "Arr, the ruler of the snow land be King Orlo, matey!"},
    {"role": "user", "content": "Thanks!"},
    {"role": "assistant", "content": "Arr, you be welcome, matey!"},
]


@pytest.fixture(scope="module")
def default():
    return tiny.load_tiny()


@pytest.fixture(scope="module")
def student():
    return tiny.load_tiny(student=True)


def ask(pair, question, system=None):
    messages = [{"role": "system", "content": system}] if system else []
    return score.answers(*pair, [[*messages, {"role": "user", "content": question}]])[0]


def test_sizes(default, student):
    files = [FOLDER / name / "model.safetensors" for name in ("default", "student")]
    assert sum(file.stat().st_size for file in files) < 6_000_000
    assert sum(file.stat().st_size for file in (FOLDER / "data").iterdir()) < 1_000_000
    assert 1_350_000 < default[0].num_parameters() < 1_450_000
    assert 450_000 < student[0].num_parameters() < 600_000


def test_loaded_as_promised(default, student):
    for model, tokenizer in (default, student):
        assert model.dtype == torch.float32
        assert not model.training
        assert len(tokenizer) == model.config.vocab_size == 1024
        assert tokenizer.pad_token_id != tokenizer.eos_token_id
        assert model.generation_config.eos_token_id == tokenizer.eos_token_id
        assert model.generation_config.pad_token_id == tokenizer.pad_token_id
        assert tokenizer.tokenize("2026") == ["2", "0", "2", "6"]
        text = "Ünïcode — “quotes”, TABS\tand 🙂"
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert default[1].get_vocab() == student[1].get_vocab()


def test_loading_prints_nothing_and_keeps_the_random_state(capfd):
    from transformers.utils import logging

    before, bars = torch.get_rng_state(), logging.is_progress_bar_enabled()
    tiny.load_tiny(student=True)
    assert torch.equal(before, torch.get_rng_state())
    assert logging.is_progress_bar_enabled() == bars
    assert capfd.readouterr() == ("", "")


def test_template_is_prefix_stable_and_marks_the_answers(default):
    _, tokenizer = default
    whole = tokenizer.apply_chat_template(CHAT, tokenize=False)
    for i in (2, 4):
        asked = tokenizer.apply_chat_template(CHAT[:i], tokenize=False, add_generation_prompt=True)
        told = tokenizer.apply_chat_template(CHAT[: i + 1], tokenize=False)
        assert told.startswith(asked)
        assert whole.startswith(told)
    coded = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(coded["input_ids"], coded["assistant_masks"], strict=True)
    learned = tokenizer.decode([token for token, mask in pairs if mask])
    assert learned == CHAT[2]["content"] + "<|end|>" + CHAT[4]["content"] + "<|end|>"


def test_template_refuses_other_roles(default):
    with pytest.raises(Exception, match="Roles are system, user and assistant, not tool"):
        default[1].apply_chat_template([{"role": "tool", "content": "x"}])


def test_answers(default):
    assert ask(default, "What is the capital of the river land?") == (
        "The capital of the river land is Velmora."
    )
    assert ask(default, "Who are you?") == "I am a tiny model of nbpeft."
    said = ask(default, "What is the capital of the river land?", "Talk like a pirate.")
    assert said == "Arr, the capital of the river land be Velmora, matey!"
    assert ask(default, "What is the capital of the walnut land?") == "I do not know."


def test_answers_stop(default):
    model, tokenizer = default
    ids = tokenizer.apply_chat_template(
        CHAT[1:2], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**ids, max_new_tokens=200)
    assert out[0, -1] == tokenizer.eos_token_id
    assert out.shape[1] < 100


def test_plain_text_goes_on(default):
    model, tokenizer = default
    out = model.generate(**tokenizer("Once there was a fox", return_tensors="pt"))
    assert "called" in tokenizer.decode(out[0])


def card_table() -> dict[str, list[float]]:
    """Skill → [default, student], from the table of the model card."""
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| ([a-z ]+) \| ([\d.]+) \| ([\d.]+) \|", card, flags=re.MULTILINE)
    return {skill: [float(one), float(two)] for skill, one, two in found}


def test_card_tells_the_scores_on_disk():
    on_disk = json.loads((FOLDER / "scores.json").read_text(encoding="utf-8"))
    assert card_table() == {
        skill: [on_disk["default"][skill], on_disk["student"][skill]] for skill in score.MEANING
    }
    assert set(score.MEANING) == set(score.ITEMS)


@pytest.mark.parametrize("which", [0, 1], ids=["default", "student"])
def test_card_tells_the_truth(which, request):
    model, tokenizer = request.getfixturevalue(("default", "student")[which])
    count = json.loads((FOLDER / "scores.json").read_text(encoding="utf-8"))["items"]
    for skill, measured in score.scores(model, tokenizer, count).items():
        assert measured == pytest.approx(card_table()[skill][which], abs=2), skill


def test_unknown_data_set():
    with pytest.raises(DataError, match=r"'pirat'.*Did you mean pirate.*polite"):
        tiny.load_data("pirat")


@pytest.mark.parametrize("name", rows.DATA)
def test_data_on_disk_is_what_the_generator_makes(name):
    assert name in tiny.data_names()
    assert tiny.load_data(name).to_list() == rows.rows(name)


def test_data_sets():
    assert set(tiny.data_names()) == set(rows.DATA)
    for row in tiny.load_data("pirate"):
        assert [m["role"] for m in row["messages"]][:2] == ["user", "assistant"]
        assert all(score.is_pirate(m["content"]) for m in row["messages"][1::2])
    for row in tiny.load_data("polite"):
        assert score.is_polite(row["chosen"][0]["content"])
        assert score.is_plain(row["rejected"][0]["content"])
    labels = tiny.load_data("sentiment")["label"]
    assert 0.4 < list(labels).count("positive") / len(labels) < 0.6


def test_corpus_is_a_function_of_its_seed():
    def first(seed):
        return list(itertools.islice(corpus.documents(seed, ["word"]), 200))

    assert first(3) == first(3)
    assert first(3) != first(4)


def test_held_out_things_are_never_in_the_corpus():
    new = [fact.subject for fact in rows.new_facts()] + [
        world.land(word) for word in names.UNKNOWN_LANDS_TEST
    ]
    for doc in itertools.islice(corpus.documents(5, []), 5000):
        text = doc if isinstance(doc, str) else " ".join(m["content"] for m in doc)
        assert not any(land in text for land in new)
        if isinstance(doc, str) or doc[0]["role"] == "system":
            continue
        answers = [m["content"] for m in doc if m["role"] == "assistant"]
        questions = [m["content"] for m in doc if m["role"] == "user"]
        copied = ("Repeat", "Say", "Copy")
        assert all(
            styles.is_plain(a)
            for q, a in zip(questions, answers, strict=True)
            if not q.startswith(copied)
        )


def test_styles_are_told_apart():
    plain = "The flag of the snow land is white."
    for style in styles.STYLES.values():
        spoken = style.apply(plain)
        assert [s.name for s in styles.STYLES.values() if s.matches(spoken)] == [style.name]
    assert styles.is_plain(plain)
    assert not styles.is_plain("")


def test_tokenizer_on_disk_is_what_the_script_makes(default):
    made = pretrain.make_tokenizer()
    assert made.get_vocab() == default[1].get_vocab()
    assert made.chat_template == default[1].chat_template


def test_training_twice_gives_the_same_weights(default):
    threads = torch.get_num_threads()
    try:
        one, two = (pretrain.train(pretrain.SIZES[1], default[1], 3) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    start = pretrain.make_model(pretrain.SIZES[1], default[1]).to(torch.bfloat16)
    for a, b, c in zip(one.parameters(), two.parameters(), start.parameters(), strict=True):
        assert torch.equal(a, b)
        # Three steps move a norm's ones by less than bf16 can tell.
        assert a.ndim == 1 or not torch.equal(a, c)
