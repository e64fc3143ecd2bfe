"""From what adapters wrote to a card: whose text is whose, in what order; who comes out how."""

import pytest

from nbpeft.errors import ModelError
from nbpeft.rating.answering import APART, TRIES, Answerer
from nbpeft.rating.deck import Answer
from nbpeft.rating.summary import Tally, tallies
from nbpeft.rating.turns import Turn


class Model:
    """Something to hold weakly."""


@pytest.fixture
def answerer(monkeypatch):
    model = Model()
    answerer = Answerer(None, model, None, 9)
    answerer.model = model
    answerer.tries = []

    def writes(*each):
        def texts(_, turn, apart):
            answerer.tries.append(apart)
            return each[min(len(answerer.tries), len(each)) - 1]

        monkeypatch.setattr(Answerer, "_texts", texts)

    answerer.writes = writes
    return answerer


def turn(adapters="ab", answers=2, order=0):
    return Turn(0, "Hi", tuple(adapters), answers, 7, order)


def test_the_order_is_the_turn_s_and_each_text_keeps_its_name(answerer):
    answerer.writes([("a", "of a"), ("b", "of b")])
    cards = [answerer.card(turn(order=order)) for order in range(20)]
    assert {card.answers[0].adapters for card in cards} == {("a",), ("b",)}
    assert {answer for card in cards for answer in card.answers} == {
        Answer("of a", ("a",)), Answer("of b", ("b",)),
    }  # fmt: skip
    assert cards[0] == answerer.card(turn(order=0))
    assert {card.seed for card in cards} == {7}


def test_one_text_of_two_is_one_answer(answerer):
    answerer.writes([("a", "same"), ("b", "same "), ("c", "other")])
    card = answerer.card(turn("abc", 3))
    assert set(card.answers) == {Answer("same", ("a", "b")), Answer("other", ("c",))}


@pytest.mark.parametrize("texts", [("Hi", "Hi "), (" ", "Hi")])
def test_nothing_to_choose_is_no_card(answerer, texts):
    answerer.writes(list(zip("ab", texts, strict=True)))
    assert answerer.card(turn()) is None
    assert answerer.tries == [0]  # adapters that are asked again say the same


def test_a_lone_adapter_is_sampled_again_for_answers_that_differ(answerer):
    answerer.writes([("a", "x"), ("a", "x")], [("a", "x"), ("a", "y")])
    card = answerer.card(turn("a"))
    assert {answer.text for answer in card.answers} == {"x", "y"}
    assert answerer.tries == [0, APART]
    answerer.tries.clear()
    answerer.writes([("a", "x"), ("a", "x")])
    assert answerer.card(turn("a")) is None
    assert len(answerer.tries) == TRIES


def test_a_model_that_is_gone_is_said(answerer):
    del answerer.model
    with pytest.raises(ModelError, match="run the cell of the rating again"):
        answerer.card(turn())


def rows(group, **scores):
    return [{"group": group, "adapter": name, "score": score} for name, score in scores.items()]


def test_who_came_out_how():
    found = tallies([
        *rows("1", a=1, b=0), *rows("2", b=1, a=1, c=0), *rows("3", a=0, b=0), *rows("4", c=0.75),
    ])  # fmt: skip
    assert found == {"a": Tally(3, 2), "b": Tally(3, 1), "c": Tally(1, 0, (4.0,))}
    # Two samples of one adapter are no contest.
    alone = rows("5", a=1) + rows("5", a=0)
    assert tallies(alone) == {"a": Tally()}
