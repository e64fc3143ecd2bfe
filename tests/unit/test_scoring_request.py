"""What `%peft_score` can be asked for: typed words, and the help that is made from them."""

from __future__ import annotations

import pytest

from nbpeft.errors import RequestError
from nbpeft.magics.score import FLAGS, TEXTS, peft_score
from nbpeft.scoring.request import ScoreRequest, score_options
from nbpeft.scoring.result import SHOWN, Pairs, Predictions, Scores
from nbpeft.typed import read_rows, split_line


def of_line(line):
    words, names = split_line(line, flags=FLAGS, texts=TEXTS)
    return ScoreRequest.of(names, words)


def test_words_are_read():
    asked = of_line("r --data 1.10 --pairwise --columns prompt=question --count 3 --max-length 9")
    assert asked == ScoreRequest(
        "r", data="1.10", pairwise=True, columns={"prompt": "question"}, count=3, max_length=9
    )
    assert of_line("r") == ScoreRequest.of(["r"], {"data": None}) == ScoreRequest("r")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "takes one NAME; none was given"),
        ("a b", "takes one NAME; given were a, b"),
        ("r --pairwsie", "--pairwise"),
        ("r --max-length 0", "max_length must be at least 1, not 0"),
        ("r --count many", "count"),
    ],
)
def test_what_cannot_be_asked(line, message):
    with pytest.raises(RequestError, match=message):
        of_line(line)


def test_every_option_is_in_the_help():
    for option in score_options():
        assert f"--{option.name.replace('_', '-')}" in peft_score.__doc__


def test_a_cell_is_a_text_a_line_or_a_list():
    assert read_rows("one\n\n  two  \n") == ["one", "two"]
    assert read_rows("- one\n- prompt: a\n  completion: b\n") == [
        "one",
        {"prompt": "a", "completion": "b"},
    ]
    with pytest.raises(RequestError, match="must be a text, a chat"):
        read_rows("- 3\n")


def test_what_is_shown_is_escaped_and_bounded():
    many = Scores("r@1", ("<b>x</b>",) * (SHOWN + 3), (0.5,) * (SHOWN + 3))
    assert "<b>" not in many.table().html()
    assert many.table().notes == ("3 rows more: .to_pandas() has them all",)
    assert len(many.to_pandas()) == SHOWN + 3


def test_pairs_are_won_by_the_higher_score():
    pairs = Pairs("r@1", ("a", "b", "c"), ("x", "y", "z"), (1.0, 0.0, 2.0), (0.5, 0.5, 2.0))
    assert pairs.margins == (0.5, -0.5, 0.0)
    assert pairs.accuracy == pytest.approx(1 / 3)
    assert [row[-1] for row in pairs.table().rows] == ["chosen", "rejected", "neither"]


def test_predictions_name_the_likeliest_label():
    found = Predictions("c@1", ("s", "t"), ("no", "yes"), ((0.2, 0.8), (0.9, 0.1)), ("yes", "yes"))
    assert found.labels == ("yes", "no")
    assert found.accuracy == 0.5
    assert found.table().header == ("text", "label", "in the data", "probability")
    assert "50% as in the data" in found.table().text()
    unlabelled = Predictions("c@1", ("s",), ("no", "yes"), ((0.2, 0.8),))
    assert unlabelled.accuracy is None
    assert unlabelled.to_pandas().to_dict("records") == [
        {"text": "s", "label": "yes", "no": 0.2, "yes": 0.8}
    ]
