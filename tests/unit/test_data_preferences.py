"""Preferences: which rows they are read from, and what is trained on."""

from __future__ import annotations

from typing import Any

import pytest
from test_data_tokenizers import CHATML, byte_tokenizer, trained

from nbpeft.data import Rows, preferences, read


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
