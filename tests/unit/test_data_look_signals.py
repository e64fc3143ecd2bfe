"""A look at data of each signal shows what a run on it would train on."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

import pytest
from signals import preferences, texts
from test_data_preferences import marked
from test_data_tokenizers import CHATML, byte_tokenizer

import nbpeft
from nbpeft.data import read
from nbpeft.data.looking.look import Look, look
from nbpeft.data.signals import SIGNALS, Labels, Preferences, Prompts, Ratings, Signal, Texts
from nbpeft.errors import DataError
from nbpeft.objectives import objectives
from nbpeft.rendering import Token


def looked(given: Any, signal: Signal, **options: Any) -> Look:
    options = {"max_length": 512} | options
    return look(read(given, {}), byte_tokenizer(CHATML), signal=signal, **options)


def shown(row: Any, kind: str | None = None) -> str:
    return "".join(t.text for t in row.tokens if isinstance(t, Token) and kind in (None, t.kind))


PAIRS = [{"prompt": "a?", "chosen": "yes", "rejected": "no"}] * 3


def test_chosen_and_rejected_are_shown_one_above_the_other() -> None:
    found = looked(PAIRS[:1], Preferences())
    assert [row.title for row in found.shown] == [
        "row 0, chosen: 26 tokens, 5 trained",
        "row 0, rejected: 25 tokens, 4 trained",
    ]
    assert [shown(row, "trained") for row in found.shown] == [
        "yes<|im_end|>\n",
        "no<|im_end|>\n",
    ]
    run = preferences(read(PAIRS[:1], {}), byte_tokenizer(CHATML), max_length=512, eval=0)
    assert (found.tokens, found.trained_tokens) == (run.tokens, run.trained_tokens)
    assert "«y·e·s·<|im_end|>" in repr(found)


def test_a_pair_made_of_marks_is_shown_by_the_better_row() -> None:
    rows = marked(1, 3, 2)
    found = looked(rows, Preferences(), rows=[1])
    assert [row.title.split(":")[0] for row in found.shown] == [
        "row 1, chosen", "row 1, rejected", "row 1, chosen", "row 1, rejected",
    ]  # fmt: skip
    with pytest.raises(DataError, match="of row 0 of '3 inline rows' nothing is made"):
        looked(rows, Preferences(), rows=[0])


def test_thumbs_labels_and_prompts_are_named_above_the_row() -> None:
    thumbs = looked(marked(True, False, name="label"), Ratings())
    assert [row.title.split(":")[0] for row in thumbs.shown] == [
        "row 0, thumb up", "row 1, thumb down",
    ]  # fmt: skip
    labels = looked([{"text": "good", "label": "x"}, {"text": "bad", "label": "y"}], Labels())
    assert labels.shown[1].title == "row 1, label y: 3 tokens"
    assert shown(labels.shown[1], "read") == "bad"
    [prompt] = looked([{"prompt": "a?"}], Prompts()).shown
    assert prompt.title.startswith("row 0, the prompt: ")
    assert shown(prompt).endswith("<|im_start|>assistant\n")
    assert not shown(prompt, "trained")


def test_a_text_is_shown_trained_from_its_first_token_and_never_cut() -> None:
    lines = ["one two", "three four five six seven"]
    found = looked(lines, Texts(), max_length=8)
    assert [shown(row, "trained") for row in found.shown] == [f"{line}</s>" for line in lines]
    run = texts(read(lines, {}), byte_tokenizer(CHATML), max_length=8, eval=0)
    blocks = [byte_tokenizer().decode(row["input_ids"]) for row in run.train]
    assert "".join(chain(*blocks)) == "".join(map(shown, found.shown))
    assert dict(found.figures)["blocks of 8 tokens"] == f"{len(run.train)} (--max-length)"


@pytest.mark.parametrize(
    ("rows", "signal", "why"),
    [
        ([PAIRS[0] | {"prompt": "a" * 600}], Preferences(), "the prompt fills the 512 tokens"),
        (marked(True, True, name="label"), Ratings(), "All 2 labels of .* are thumbs up"),
        ([{"prompt": "a" * 600}], Prompts(), "the prompt is over the 512 tokens"),
    ],
)
def test_a_look_tells_what_a_run_would_refuse(rows: Any, signal: Signal, why: str) -> None:
    refusal = looked(rows, signal).refusal
    assert refusal is not None
    assert re.search(why, refusal)


LEARNED_FROM = {
    "answers": "pirate",
    "text": "stories",
    "preferences": "polite",
    "ratings": "ratings",
    "labels": "sentiment",
    "prompts": "questions",
}


ALONE = [entry.name for entry in objectives if not entry.takes]
"""Objectives whose rows need nothing else, such as a reward."""


@pytest.mark.parametrize("objective", ALONE)
def test_a_look_reads_rows_as_the_objective_s_run_does(objective: str, tiny_pair: Any) -> None:
    model, tokenizer = tiny_pair
    data = f"tiny:{LEARNED_FROM[objectives.get(objective).signal]}"
    found = nbpeft.look(data, objective=objective, model=model, tokenizer=tokenizer)
    rows = objectives.get(objective).rows(
        read(data, {}), tokenizer, columns=None, eval=0, max_length=1024, loss_on="answers"
    )
    assert found.tokens == rows.tokens
    assert set(found.notes) >= set(rows.notes[:2])
    assert found.refusal is None


def test_every_signal_has_embedded_data() -> None:
    assert set(LEARNED_FROM) == set(SIGNALS)
