"""Which tokens are trained: the answers, their ends, and nothing else."""

from __future__ import annotations

import logging
from itertools import chain
from typing import Any

import pytest
from test_data_tokenizers import ALTERNATING, CHATML, FORGETFUL, byte_tokenizer, trained
from transformers import ByT5Tokenizer

from nbpeft.data import PLAIN_TEMPLATE, Rendering, Rows, default_rendering, read, tokenize
from nbpeft.errors import DataError


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def rows_of(rows: Any, tokenizer: Any, max_length: int = 512, **options: Any) -> Rows:
    return tokenize(read(rows, {}), tokenizer, max_length=max_length, eval=0, **options)


TWO_TURNS = [{"messages": [user("hi"), assistant("hé yo"), user("so"), assistant("bye")]}]


def test_every_answer_of_a_chat_is_trained_with_its_end_of_turn() -> None:
    tokenizer = byte_tokenizer(CHATML)
    rows = rows_of(TWO_TURNS, tokenizer)
    assert trained(tokenizer, rows.train[0]) == "hé yo<|im_end|>\nbye<|im_end|>\n"
    whole = tokenizer.apply_chat_template(TWO_TURNS[0]["messages"], return_dict=False)
    assert rows.train[0]["input_ids"] == whole
    assert (rows.tokens, rows.trained_tokens) == (len(whole), 6 + 2 + 3 + 2)


def test_what_follows_the_last_answer_is_left_out() -> None:
    tokenizer = byte_tokenizer(CHATML)
    rows = rows_of([{"messages": [user("a"), assistant("b"), user("c")]}], tokenizer)
    assert tokenizer.decode(rows.train[0]["input_ids"]).endswith("assistant\nb<|im_end|>\n")


def test_an_assistant_that_speaks_first_answers_nothing() -> None:
    tokenizer = byte_tokenizer(CHATML)
    rows = rows_of([{"messages": [assistant("hello"), user("a"), assistant("b")]}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "b<|im_end|>\n"


def test_only_the_last_answer_where_the_template_writes_earlier_ones_anew() -> None:
    tokenizer = byte_tokenizer(FORGETFUL)
    chat = [user("a"), assistant("<x></think>b"), user("c"), assistant("<y></think>d")]
    rows = rows_of([{"messages": chat}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "<y></think>d<|im_end|>\n"
    assert any("1 row trained on the last answer only" in note for note in rows.notes)


def test_a_template_that_opens_with_a_thought_is_trained_without_it() -> None:
    opening = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}")
    tokenizer = byte_tokenizer(opening)
    rows = rows_of([{"messages": [user("a"), assistant("b")]}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "b<|im_end|>\n"
    assert any("1 row trained without it" in note for note in rows.notes)


def test_a_template_that_rewrites_the_question_is_refused() -> None:
    rewriting = "{{ messages | length }}" + CHATML
    with pytest.raises(DataError, match=r"Row 0 of '1 inline rows': .* another way once"):
        rows_of([{"messages": [user("a"), assistant("b")]}], byte_tokenizer(rewriting))


def test_the_template_s_refusal_names_the_row_in_the_user_s_numbering() -> None:
    good = {"messages": [user("a"), assistant("b")]}
    bad = {"messages": [user("a"), user("b"), assistant("c")]}
    source = read([good] * 30 + [bad] + [good] * 9, {})
    with pytest.raises(DataError, match=r"^Row 30 of .* refuses it: roles must alternate$"):
        tokenize(source, byte_tokenizer(ALTERNATING), eval=0.5, max_length=64)


def test_an_end_token_is_added_where_the_template_writes_none() -> None:
    endless = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{{ '[assistant]' if add_generation_prompt }}"
    )
    tokenizer = byte_tokenizer(endless)
    rows = rows_of([{"messages": [user("a"), assistant("b")]}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "b</s>"
    assert any("</s> is added after the last answer of 1 row" in note for note in rows.notes)


def test_a_tokenizer_without_a_template_writes_chats_plainly() -> None:
    tokenizer = byte_tokenizer(bos=True)
    rows = rows_of(TWO_TURNS, tokenizer)
    text = tokenizer.decode(rows.train[0]["input_ids"])
    assert text == "<s>User: hi\nAssistant: hé yo</s>\nUser: so\nAssistant: bye</s>"
    assert trained(tokenizer, rows.train[0]) == " hé yo</s> bye</s>"
    assert rows.rendering == Rendering("plain", PLAIN_TEMPLATE)
    assert any("no chat template" in note and "'User: …'" in note for note in rows.notes)


def test_prompt_and_completion_become_turns_with_a_template() -> None:
    tokenizer = byte_tokenizer(CHATML)
    rows = rows_of([{"prompt": "a", "completion": "b"}], tokenizer)
    same = rows_of([{"messages": [user("a"), assistant("b")]}], tokenizer)
    assert rows.train[0] == same.train[0]
    assert any("prompt and its completion as turns" in note for note in rows.notes)


def test_prompt_and_completion_stand_as_they_are_without_one() -> None:
    tokenizer = byte_tokenizer(bos=True)
    rows = rows_of([{"prompt": "one ", "completion": "two"}], tokenizer)
    assert tokenizer.decode(rows.train[0]["input_ids"]) == "<s>one two</s>"
    assert trained(tokenizer, rows.train[0]) == "two</s>"
    assert any("joined exactly as they stand" in note for note in rows.notes)


def test_a_token_over_the_seam_of_prompt_and_completion_is_taken_apart() -> None:
    tokenizer = byte_tokenizer(merges=[("a", "b")])
    rows = rows_of([{"prompt": "xa", "completion": "by"}], tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(rows.train[0]["input_ids"])
    assert tokens == ["x", "a", "b", "y", "</s>"]
    assert trained(tokenizer, rows.train[0]) == "by</s>"
    assert any("1 row tokenized as prompt and completion apart" in note for note in rows.notes)


def test_earlier_answers_in_a_prompt_of_messages_are_not_trained() -> None:
    tokenizer = byte_tokenizer(CHATML)
    row = {"prompt": [user("a"), assistant("b"), user("c")], "completion": [assistant("d")]}
    rows = rows_of([row], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "d<|im_end|>\n"


def test_text_is_trained_whole_but_for_its_first_token() -> None:
    tokenizer = byte_tokenizer(bos=True)
    rows = rows_of(["abc", "<s>abc</s>"], tokenizer)
    for row in rows.train:  # what the text wrote itself is not written twice
        assert tokenizer.decode(row["input_ids"]) == "<s>abc</s>"
        assert trained(tokenizer, row) == "abc</s>"


def test_rows_are_cut_at_their_end_and_dropped_when_no_answer_is_left() -> None:
    tokenizer = byte_tokenizer()
    pairs = [
        {"prompt": "p" * 5, "completion": "c" * 9},
        {"prompt": "p" * 10, "completion": "c"},
        {"prompt": "p", "completion": "c"},
    ]
    rows = rows_of(pairs, tokenizer, max_length=10)
    assert [trained(tokenizer, row) for row in rows.train] == ["ccccc", "c</s>"]
    assert any(note.startswith("2 rows cut to 10 tokens") for note in rows.notes)
    assert any(note.startswith("1 row dropped") and note.endswith(": 1") for note in rows.notes)


def test_no_row_with_an_answer_left_is_refused() -> None:
    pairs = [{"prompt": "p" * 10, "completion": "c"}]
    with pytest.raises(DataError, match=r"beginning with row 0: .* raise --max-length"):
        rows_of(pairs, byte_tokenizer(), max_length=10)


def test_answers_beyond_the_cut_change_nothing_before_it() -> None:
    tokenizer = byte_tokenizer(CHATML)
    chat = [turn for i in range(20) for turn in (user(f"question {i}"), assistant(f"answer {i}"))]
    whole = rows_of([{"messages": chat}], tokenizer, max_length=10_000).train[0]
    cut = rows_of([{"messages": chat}], tokenizer, max_length=100).train[0]
    assert cut["labels"] == whole["labels"][:100]


@pytest.mark.parametrize("pad", [None, "</s>"])
def test_a_pad_token_that_is_the_end_token_is_said_aloud(pad: str | None) -> None:
    tokenizer = byte_tokenizer(pad=pad)
    rows = rows_of(["abc"], tokenizer)
    assert any("padding is masked by position" in note for note in rows.notes)
    assert trained(tokenizer, rows.train[0]).endswith("</s>")
    assert not any("padding" in note for note in rows_of(["abc"], byte_tokenizer()).notes)


def test_a_tokenizer_without_an_end_token_is_said_aloud() -> None:
    rows = rows_of(["abc"], byte_tokenizer(eos=None), loss_on="all")
    assert any("isn't taught to stop" in note for note in rows.notes)


@pytest.mark.parametrize("template", [None, CHATML])
def test_a_slow_tokenizer_marks_the_same_answers(template: str | None) -> None:
    slow = ByT5Tokenizer(extra_ids=0, additional_special_tokens=["<|im_start|>", "<|im_end|>"])
    slow.chat_template = template
    assert not slow.is_fast
    rows = rows_of(TWO_TURNS, slow)
    answers = ["hé yo<|im_end|>\n", "bye<|im_end|>\n"] if template else [" hé yo</s>", " bye</s>"]
    labels = [label for label in rows.train[0]["labels"] if label != -100]
    assert labels == [*chain(*slow(answers, add_special_tokens=False)["input_ids"])]


def test_the_tokenizer_is_left_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = byte_tokenizer(CHATML, pad=None)
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(5)
    backend.enable_padding(length=7, pad_id=258)
    before = (repr(tokenizer), backend.to_str(), dict(tokenizer.deprecation_warnings))
    with caplog.at_level(logging.WARNING):
        rows = rows_of([{"messages": [user("a" * 99), assistant("b")]}], tokenizer)
        rows.rendering.prompt_ids(tokenizer, "a" * 99)
    assert len(rows.train[0]["input_ids"]) > 100  # neither setting got at the rows
    assert (repr(tokenizer), backend.to_str(), dict(tokenizer.deprecation_warnings)) == before
    assert not caplog.records


@pytest.mark.parametrize("template", [CHATML, None])
@pytest.mark.parametrize("rows", [TWO_TURNS, [{"prompt": "one", "completion": " two"}], ["one"]])
def test_a_prompt_is_written_as_it_was_trained(template: str | None, rows: list[Any]) -> None:
    tokenizer = byte_tokenizer(template, bos=True)
    made = rows_of(rows, tokenizer)
    rendering = Rendering.from_dict(made.rendering.to_dict())
    assert rendering == made.rendering
    first = made.train[0]
    ids = rendering.prompt_ids(tokenizer, made.sample_prompts[0])
    assert first["input_ids"][: len(ids)] == ids
    if rendering.kind != "text":
        assert first["labels"][len(ids)] != -100
        assert first["labels"][len(ids) - 1] == -100


def test_a_bare_model_is_asked_by_its_template_or_as_it_stands() -> None:
    assert default_rendering(byte_tokenizer(CHATML)).kind == "chat"
    plain = byte_tokenizer(bos=True)
    rendering = default_rendering(plain)
    assert plain.decode(rendering.prompt_ids(plain, "hi")) == "<s>hi"
    assert plain.decode(rendering.prompt_ids(plain, "<s>hi")) == "<s>hi"
    with pytest.raises(DataError, match="give the prompt as a string"):
        rendering.prompt_text(plain, [user("hi")])


def test_a_rendering_of_a_later_version_is_refused() -> None:
    with pytest.raises(DataError, match="newer nbpeft"):
        Rendering.from_dict({"kind": "songs", "template": None})
