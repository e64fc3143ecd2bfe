"""Preferences: which rows they are read from, and what is trained on."""

from __future__ import annotations

from typing import Any

import pytest
from signals import preferences
from test_data_tokenizers import CHATML, byte_tokenizer, trained

from nbpeft.data import Rows, read
from nbpeft.errors import DataError


def rows_of(rows: Any, tokenizer: Any = None, **options: Any) -> Rows:
    options = {"max_length": 512, "eval": 0} | options
    return preferences(read(rows, {}), tokenizer or byte_tokenizer(CHATML), **options)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def told(row: Any, tokenizer: Any) -> tuple[str, str, str]:
    """(what both share, what is trained of the chosen, of the rejected)."""
    other = {"input_ids": row["rejected_input_ids"], "labels": row["rejected_labels"]}
    assert row["input_ids"][: row["shared"]] == row["rejected_input_ids"][: row["shared"]]
    shared = tokenizer.decode(row["input_ids"][: row["shared"]])
    return shared, trained(tokenizer, row), trained(tokenizer, other)


PROMPT = "<|im_start|>user\na?<|im_end|>\n<|im_start|>assistant\n"
BOTH = (PROMPT, "yes<|im_end|>\n", "no<|im_end|>\n")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a?", "chosen": "yes", "rejected": "no"},
        {"question": "a?", "response_chosen": "yes", "response_rejected": "no"},
        {"prompt": [user("a?")], "chosen": [assistant("yes")], "rejected": [assistant("no")]},
        {"prompt": [user("a?")], "chosen": "yes", "rejected": "no"},
        {"prompt": "a?", "chosen": [assistant("yes")], "rejected": [assistant("no")]},
        {"chosen": [user("a?"), assistant("yes")], "rejected": [user("a?"), assistant("no")]},
        {
            "prompt": "a?",
            "chosen": [user("a?"), assistant("yes")],
            "rejected": [user("a?"), assistant("no")],
        },
        {
            "prompt": [user("a?")],
            "chosen": [user("a?"), assistant("yes")],
            "rejected": [user("a?"), assistant("no")],
        },
        {
            "chosen": "\n\nHuman: a?\n\nAssistant: yes",
            "rejected": "\n\nHuman: a?\n\nAssistant: no",
        },
        {"prompt": "\n\nHuman: a?\n\nAssistant:", "chosen": "yes", "rejected": "no"},
        {
            "chosen": [{"from": "human", "value": "a?"}, {"from": "gpt", "value": "yes"}],
            "rejected": [{"from": "human", "value": "a?"}, {"from": "gpt", "value": "no"}],
        },
    ],
)
def test_one_preference_in_the_ways_it_is_written(row: Any) -> None:
    tokenizer = byte_tokenizer(CHATML)
    [made] = rows_of([row], tokenizer).train
    assert told(made, tokenizer) == BOTH


def test_strings_without_a_prompt_share_whole_words() -> None:
    tokenizer = byte_tokenizer()
    [made] = rows_of([{"chosen": "a b cd", "rejected": "a b ce"}], tokenizer).train
    assert told(made, tokenizer) == ("a b", " cd</s>", " ce</s>")


def test_answers_to_nothing_are_preferred_too() -> None:
    row = [{"chosen": "good", "rejected": "bad"}]
    for tokenizer, opening, end in (
        (byte_tokenizer(CHATML), "<|im_start|>assistant\n", "<|im_end|>\n"),
        (byte_tokenizer(), "", "</s>"),
    ):
        [made] = rows_of(row, tokenizer).train
        # the first token of a row is never trained: nothing tells it
        first = 0 if opening else 1
        shared, chosen, rejected = told(made, tokenizer)
        assert (shared, chosen, rejected) == (opening, f"good{end}"[first:], f"bad{end}"[first:])


def test_a_chat_is_shared_up_to_where_the_answers_differ() -> None:
    asked = [{"role": "system", "content": "s"}, user("a?"), assistant("b."), user("c?")]
    tokenizer = byte_tokenizer(CHATML)
    row = {"chosen": [*asked, assistant("yes")], "rejected": [*asked, assistant("no")]}
    [made] = rows_of([row], tokenizer).train
    shared, chosen, rejected = told(made, tokenizer)
    assert "b.<|im_end|>" in shared
    assert (chosen, rejected) == ("yes<|im_end|>\n", "no<|im_end|>\n")


def test_a_system_message_beside_whole_chats_opens_the_prompt() -> None:
    tokenizer = byte_tokenizer(CHATML)
    row = {
        "prompt": [{"role": "system", "content": "s"}],
        "chosen": [user("a?"), assistant("yes")],
        "rejected": [user("a?"), assistant("no")],
    }
    [made] = rows_of([row], tokenizer).train
    assert told(made, tokenizer) == (f"<|im_start|>system\ns<|im_end|>\n{PROMPT}", *BOTH[1:])


GOOD = {"prompt": "a?", "chosen": "yes", "rejected": "no"}


@pytest.mark.parametrize(
    ("bad", "column", "message"),
    [
        (GOOD | {"rejected": "yes"}, "rejected", "it is the same answer as chosen"),
        (GOOD | {"rejected": " "}, "rejected", "it is empty"),
        (GOOD | {"chosen": None}, "chosen", "it is missing"),
        (GOOD | {"chosen": "a?", "rejected": "a? no"}, "chosen", "beside the prompt it holds no"),
        (GOOD | {"chosen": [user("b")]}, "chosen", "no message has the role assistant"),
        (GOOD | {"prompt": "a" * 600}, "prompt", "the prompt fills the 512 tokens of a row"),
        (
            GOOD | {"chosen": "b" * 600, "rejected": "b" * 601},
            "prompt",
            "within 512 tokens the two answers are the same",
        ),
    ],
)
def test_a_bad_pair_is_named_by_row_and_column(bad: Any, column: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        rows_of([*[GOOD] * 3, bad])
    assert str(caught.value).startswith(f"Row 3 of '4 inline rows', column '{column}': {message}")


def test_columns_say_which_is_which() -> None:
    tokenizer = byte_tokenizer(CHATML)
    rows = [{"q": "a?", "first": "yes", "second": "no"}]
    with pytest.raises(DataError, match="fit no format"):
        rows_of(rows, tokenizer)
    columns = {"prompt": "q", "chosen": "first", "rejected": "second"}
    made = rows_of(rows, tokenizer, columns=columns)
    assert told(made.train[0], tokenizer) == BOTH
    assert made.notes[0] == (
        "rows are read as preference (prompt from q, chosen from first, rejected from second)"
    )


def test_rows_of_one_prompt_are_held_out_together() -> None:
    rows = [
        {"prompt": f"{i // 4}?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(80)
    ]
    tokenizer = byte_tokenizer(CHATML)
    made = rows_of(rows, tokenizer, eval=10)
    train, held_out = (
        {told(row, tokenizer)[0] for row in part} for part in (made.train, made.held_out or ())
    )
    assert train.isdisjoint(held_out)
    assert len(made.held_out or ()) == 8
    assert any("so that rows of one prompt stay on one side" in note for note in made.notes)


# --- made of thumbs and marks


def marked(*marks: Any, prompt: str = "a?", name: str = "score") -> list[dict[str, Any]]:
    return [{"prompt": prompt, "completion": f"c{i}", name: m} for i, m in enumerate(marks)]


def pairs(rows: Any, **options: Any) -> list[tuple[str, str]]:
    tokenizer = byte_tokenizer(CHATML)
    made = rows_of(rows, tokenizer, **options)
    ends = (told(row, tokenizer)[1:] for row in made.train)
    return [(better.split("<")[0], worse.split("<")[0]) for better, worse in ends]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (marked(1, 3, 2), [("c1", "c0"), ("c1", "c2")]),
        (marked(1, 3, 3), [("c1", "c0"), ("c2", "c0")]),
        (marked("👍", "👎", "👎", name="label"), [("c0", "c1"), ("c0", "c2")]),
        (marked(True, False, True, name="feedback"), [("c0", "c1"), ("c2", "c1")]),
        ([*marked(1, 2), *marked(5, prompt="b?"), *marked(1, 1, prompt="c?")], [("c1", "c0")]),
    ],
)
def test_the_best_answer_goes_over_each_that_is_marked_lower(rows: Any, expected: Any) -> None:
    assert pairs(rows) == expected


def test_as_many_pairs_as_answers_less_one_and_a_note_says_so() -> None:
    rows = [*marked(*range(20)), *marked(5, prompt="b?")]
    assert len(pairs(rows)) == 19
    told_of = rows_of(rows).notes
    assert (
        "made of them: 19 preferences, of each prompt's answers the best over each that is marked "
        "lower; 1 of 2 prompts gave none: one answer, or all marked alike" in told_of
    )


def test_marks_are_compared_within_a_group() -> None:
    rows = [row | {"group": group} for row, group in zip(marked(1, 2, 3, 4), "xxyy", strict=True)]
    assert pairs(rows) == [("c1", "c0"), ("c3", "c2")]


def test_marks_that_prefer_nothing_are_refused() -> None:
    rows = [*marked(5), *marked(1, 1, prompt="b?")]
    with pytest.raises(DataError, match="No preference can be made of the 3 rows of '3 inline"):
        rows_of(rows)


def test_a_mark_that_is_none_is_named_by_row_and_column() -> None:
    with pytest.raises(DataError, match=r"^Row 2 of .*, column 'score': it is 'good', which is no"):
        rows_of(marked(1, 2, "good", 3))
