"""Thumbs up and down: how they are written, and what they are made of."""

from __future__ import annotations

from typing import Any

import datasets
import pytest
from signals import ratings
from test_data_preferences import assistant, marked, user
from test_data_tokenizers import CHATML, byte_tokenizer, trained

from nbpeft.data import Rows, read
from nbpeft.errors import DataError


def rows_of(rows: Any, **options: Any) -> Rows:
    options = {"max_length": 512, "eval": 0} | options
    return ratings(read(rows, {"rows": rows}), byte_tokenizer(CHATML), **options)


def answers(rows: Rows) -> list[tuple[str, bool]]:
    tokenizer = byte_tokenizer(CHATML)
    return [(trained(tokenizer, row).split("<")[0], row["good"]) for row in rows.train]


@pytest.mark.parametrize(
    ("up", "down"),
    [
        (True, False), (1, 0), (1, -1), (1.0, 0.0), ("good", "bad"), ("up", "down"),
        ("👍", "👎"), ("👍🏽", "👎🏿"), ("thumbs_up", "thumbs_down"), ("Thumbs Up", "Thumbs Down"),
        ("TRUE", "FALSE"), ("+1", "-1"), ("desirable", "undesirable"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["label", "rating", "is_good"])
def test_thumbs_are_read_however_they_are_written(up: Any, down: Any, name: str) -> None:
    assert answers(rows_of(marked(up, down, up, name=name))) == [
        ("c0", True),
        ("c1", False),
        ("c2", True),
    ]


def test_named_classes_are_thumbs_too() -> None:
    rows = datasets.Dataset.from_list(marked(0, 1, name="label"))
    named = rows.cast_column("label", datasets.ClassLabel(names=["good", "bad"]))
    made = rows_of(named)
    assert answers(made) == [("c0", True), ("c1", False)]
    assert made.notes[0].endswith("label, bad as down and good as up)")


def test_a_chat_s_last_answer_is_rated() -> None:
    chat = [user("a?"), assistant("b"), user("c?"), assistant("d")]
    rows = [{"messages": chat, "label": True}, {"messages": chat[:2], "label": False}]
    assert answers(rows_of(rows)) == [("d", True), ("b", False)]


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ([True, False, "meh"], "^Row 2 of .*, column 'label': it is 'meh', which is neither"),
        (["meh"] * 3, "^Row 0 of .*, column 'label': it is 'meh', which is neither thumb up"),
        ([True, None], "^Row 1 of .*, column 'label': it is missing"),
        ([True] * 40, "^All 40 labels of '40 inline rows' to train on are thumbs up: "),
        ([0] * 40, "^All 40 labels of '40 inline rows' to train on are thumbs down: "),
    ],
)
def test_thumbs_that_teach_nothing_are_refused(marks: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(marked(*marks, name="label"))


def test_both_answers_of_a_pair_are_rated_and_held_out_together() -> None:
    rows = [{"prompt": f"{i}?", "chosen": f"y{i}", "rejected": f"n{i}"} for i in range(20)]
    made = rows_of(rows, eval=4)
    assert sorted(answers(made))[:2] == [("n0", False), ("n1", False)]
    assert {answer[0] for answer, good in answers(made) if good} == {"y"}
    assert "made of them: 40 thumbs, chosen up and rejected down" in made.notes
    assert made.held_out is not None
    held = {answer[1:] for answer, _ in answers(Rows(**vars(made) | {"train": made.held_out}))}
    assert len(held) == 2
    assert held.isdisjoint(answer[1:] for answer, _ in answers(made))


def test_marks_above_the_middle_are_up() -> None:
    made = rows_of(marked(1, 3, 5, 4))
    assert answers(made) == [("c0", False), ("c2", True), ("c3", True)]
    assert (
        "marks from 1 to 5 are taken as thumbs: up above 3, down below; left out, since they are "
        "on it: 1" in made.notes
    )


def test_marks_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(DataError, match="All 3 marks of '3 inline rows', column 'score', are 4,"):
        rows_of(marked(4, 4, 4))
