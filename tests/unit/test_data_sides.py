"""Rows of an encoder-decoder: what its encoder reads, and what its decoder learns to write."""

from __future__ import annotations

from typing import Any

import pytest
from test_data_tokenizers import CHATML, byte_tokenizer
from tokenizers import processors
from transformers import ByT5Tokenizer

from nbpeft.data import Rendering, Rows, default_rendering, read, tokenize
from nbpeft.data.looking.look import look
from nbpeft.data.signals import Answers
from nbpeft.errors import DataError

PAIRS = [{"prompt": "say hi", "completion": "hi"}, {"prompt": "say yo", "completion": "yo"}]


def t5_like(template: str | None = None) -> Any:
    """A fast tokenizer that ends every text with its end token, as T5's does."""
    tokenizer = byte_tokenizer(template)
    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", end)]
    )
    return tokenizer


def rows_of(rows: Any, tokenizer: Any, max_length: int = 64, **options: Any) -> Rows:
    return tokenize(read(rows, {}), tokenizer, max_length=max_length, eval=0, apart=True, **options)


def texts(tokenizer: Any, rows: Rows, row: int = 0) -> tuple[str, str]:
    found = rows.train[row]
    return tokenizer.decode(found["input_ids"]), tokenizer.decode(found["labels"])


@pytest.mark.parametrize("make", [t5_like, ByT5Tokenizer])
def test_each_side_is_as_the_tokenizer_frames_it(make: Any) -> None:
    tokenizer = make()
    rows = rows_of(PAIRS, tokenizer)
    for given, found in zip(PAIRS, rows.train, strict=True):
        assert found["input_ids"] == tokenizer(given["prompt"])["input_ids"]
        assert found["labels"] == tokenizer(text_target=given["completion"])["input_ids"]
    assert (rows.tokens, rows.trained_tokens) == (2 * (7 + 3), 2 * 3)
    assert rows.rendering == Rendering("join", apart=True)


def test_the_answer_ends_though_the_tokenizer_adds_no_end() -> None:
    tokenizer = byte_tokenizer()
    assert texts(tokenizer, rows_of(PAIRS, tokenizer)) == ("say hi", "hi</s>")


def test_an_end_that_is_written_already_stands_once() -> None:
    tokenizer = t5_like()
    rows = rows_of([{"prompt": "a</s>", "completion": "b</s>"}], tokenizer)
    assert texts(tokenizer, rows) == ("a</s>", "b</s>")


def test_a_chat_of_one_turn_is_the_pair_that_it_is() -> None:
    tokenizer = t5_like()
    chat = [{"role": "user", "content": "say hi"}, {"role": "assistant", "content": "hi"}]
    rows = rows_of([{"messages": chat}], tokenizer)
    assert texts(tokenizer, rows) == ("say hi</s>", "hi</s>")
    [prompt] = rows.sample_prompts
    assert rows.rendering.prompt_ids(tokenizer, prompt) == rows.train[0]["input_ids"]


def test_a_chat_template_writes_the_prompt_and_ends_the_answer() -> None:
    tokenizer = t5_like(CHATML)
    chat = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    rows = rows_of([{"messages": chat}], tokenizer)
    read_, written = texts(tokenizer, rows)
    start = "<|im_start|>"
    assert read_ == (
        f"{start}system\ns<|im_end|>\n{start}user\na<|im_end|>\n{start}assistant\n</s>"
    )
    assert written == "b<|im_end|>"
    [prompt] = rows.sample_prompts
    assert rows.rendering.prompt_ids(tokenizer, prompt) == rows.train[0]["input_ids"]


def test_max_length_cuts_each_side_and_the_prompt_keeps_its_end() -> None:
    tokenizer = t5_like()
    rows = rows_of([{"prompt": "abcdef", "completion": "uvwxyz"}, *PAIRS], tokenizer, 4)
    assert texts(tokenizer, rows) == ("abc</s>", "uvwx")
    assert texts(tokenizer, rows, 1) == ("say</s>", "hi</s>")
    assert any("3 rows cut: prompt and answer have 4 tokens each" in n for n in rows.notes)


def test_answers_that_are_all_cut_are_refused() -> None:
    with pytest.raises(DataError, match=r"every answer is cut at 2 tokens; raise --max-length"):
        rows_of(PAIRS, t5_like(), 2)


TWO_ANSWERS = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "d"},
]


@pytest.mark.parametrize(
    ("template", "given", "options", "why"),
    [
        (None, ["once upon a time", "there was"], {}, "'2 inline rows' is read as raw text, and"),
        (None, PAIRS, {"loss_on": "all"}, "--loss-on all would train the prompts as well"),
        (None, [{"messages": TWO_ANSWERS}], {}, "Row 0 .* is a chat of 4 messages, .* one message"),
        (CHATML, [{"messages": TWO_ANSWERS}], {}, "Row 0 .* is a chat with 2 answers"),
    ],
)
def test_what_is_no_pair_is_refused(template: Any, given: Any, options: Any, why: str) -> None:
    with pytest.raises(DataError, match=why):
        rows_of(given, t5_like(template), **options)
    with pytest.raises(DataError, match=why):
        look(
            read(given, {}), t5_like(template), max_length=64, signal=Answers(apart=True, **options)
        )


def test_a_look_tells_the_sides_and_what_is_cut_of_each() -> None:
    tokenizer = t5_like()
    given = [{"prompt": "abcdef", "completion": "uvwxyz"}, {"prompt": "a", "completion": "b"}]
    found = look(read(given, {}), tokenizer, max_length=4, signal=Answers(apart=True))
    assert found.lengths == (7, 2)
    assert (found.tokens, found.trained_tokens) == (4 + 4 + 2 + 2, 4 + 2)
    kinds = [(token.text, token.kind) for token in found.shown[0].tokens]
    assert kinds == [
        *((letter, "read") for letter in "abc"),
        *((letter, "cut") for letter in "def"),
        ("</s>", "read"),
        *((letter, "trained") for letter in "uvwx"),
        *((letter, "cut") for letter in "yz"),
        ("</s>", "cut"),
    ]
    assert (
        found.shown[0].note == "The end token </s> is not trained: the answer is cut at 4 tokens."
    )
    assert found.shown[1].note == "The end token </s> is trained."
    assert dict(found.figures)["over 4 tokens"] == "1 of 2 rows (--max-length)"


def test_a_prompt_that_is_cut_says_nothing_of_the_answer() -> None:
    given = [{"prompt": "abcdef", "completion": "b"}]
    found = look(read(given, {}), t5_like(), max_length=4, signal=Answers(apart=True))
    assert found.shown[0].note == "The end token </s> is trained."
    assert found.refusal is None


def test_a_rendering_is_kept_with_its_sides() -> None:
    for rendering in (default_rendering(t5_like(), apart=True), default_rendering(t5_like())):
        assert Rendering.from_dict(rendering.to_dict()) == rendering
    assert Rendering.from_dict({"kind": "chat", "template": None}) == Rendering("chat")
