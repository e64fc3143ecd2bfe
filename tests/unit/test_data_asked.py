"""Prompts to answer, with what a reward wants beside them."""

from __future__ import annotations

from typing import Any

import datasets
import pytest
from signals import asked
from test_data_labelled import bracketed
from test_data_preferences import assistant, user
from test_data_tokenizers import CHATML, byte_tokenizer

from nbpeft.data import Rows, read
from nbpeft.errors import DataError


def rows_of(rows: Any, tokenizer: Any = None, **options: Any) -> Rows:
    options = {"max_length": 64, "max_new_tokens": 16, "eval": 0} | options
    return asked(read(rows, {}), tokenizer or byte_tokenizer(CHATML), **options)


CHAT = [{"role": "system", "content": "s"}, user("a?"), assistant("b."), user("c?")]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "a?"}, "a?"),
        ({"question": "a?", "answer": "b"}, "a?"),
        ({"prompt": [user("a?")]}, [user("a?")]),
        ({"messages": [*CHAT, assistant("d")]}, CHAT),
        ({"messages": CHAT}, CHAT),
        ({"instruction": "a", "input": "b", "output": "c"}, "a\n\nb"),
        ({"conversations": [{"from": "human", "value": "a?"}]}, [user("a?")]),
        ({"anything": "a question of some words"}, "a question of some words"),
    ],
)
@pytest.mark.parametrize("template", [CHATML, None])
def test_a_prompt_is_written_as_the_model_is_asked(row: Any, prompt: Any, template: Any) -> None:
    tokenizer = byte_tokenizer(template)
    rows = rows_of([row], tokenizer, max_length=512)
    assert rows.train[0]["prompt"] == prompt
    assert rows.train[0]["input_ids"] == rows.rendering.prompt_ids(tokenizer, prompt)
    assert rows.sample_prompts == (prompt,)


def test_a_prompt_begins_as_the_tokenizer_begins_a_text() -> None:
    tokenizer = bracketed()
    rows = rows_of([{"prompt": "a?"}], tokenizer)
    assert rows.train[0]["input_ids"] == rows.rendering.prompt_ids(tokenizer, "a?")
    assert rows.train[0]["input_ids"] == tokenizer("a?")["input_ids"][:-1]


def test_other_columns_stay_as_they_are() -> None:
    given = [{"prompt": f"{i}?", "answer": i, "tags": ["x", str(i)], "weight": 0.5} for i in (1, 2)]
    rows = datasets.Dataset.from_list(given)
    made = rows_of(rows)
    assert [{k: row[k] for k in given[0]} for row in made.train] == given
    assert made.train.features["answer"] == rows.features["answer"]
    assert made.notes[0] == (
        "rows are read as asked (prompt); columns kept beside: answer, tags, weight"
    )


def test_a_prompt_that_leaves_no_room_is_named() -> None:
    rows = [{"question": "a"}, {"question": "b" * 40}]
    message = (
        r"^Row 1 of '2 inline rows', column 'question': the prompt is over the 48 tokens that it "
        r"may have: 64 in all, 16 of them for the answer; raise"
    )
    with pytest.raises(DataError, match=message):
        rows_of(rows)
    assert len(rows_of(rows, max_new_tokens=0, max_length=128).train) == 2


@pytest.mark.parametrize("name", ["completions", "prompts", "input_ids"])
def test_names_that_a_reward_is_called_with_are_taken(name: str) -> None:
    with pytest.raises(DataError, match=f"has a column '{name}' beside its prompt"):
        rows_of([{"prompt": "a", name: "b"}])


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "it is empty"),
        ([{"role": "system", "content": "s"}], "nobody asks anything in it"),
        ([assistant("a")], "nobody asks anything in it"),
    ],
)
def test_a_prompt_that_asks_nothing_is_named(prompt: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^Row 0 of .*, column 'prompt': {message}"):
        rows_of([{"prompt": prompt}])
