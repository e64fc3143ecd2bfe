"""The game of cards: what each key does, and what comes of it."""

import pytest

from nbpeft.rating.deck import Answer, Card, Deck


def card(prompt="Hi", answers=2):
    return Card(prompt, tuple(Answer(f"{prompt} {i}", (f"a{i}",)) for i in range(answers)))


def deck_of(*cards, mark=False):
    deck = Deck(mark=mark)
    for one in cards:
        deck = deck.add(one)
    return deck


def pressed(deck, keys):
    step = None
    for key in keys:
        deck, step = deck.press(key)
    return deck, step


@pytest.mark.parametrize(
    ("answers", "keys", "scores"),
    [
        (2, "1", (1, 0)),
        (2, "2", (0, 1)),
        (3, "31", (0.5, 0, 1)),
        (4, "213", (2 / 3, 1, 1 / 3, 0)),
        (6, "654321"[:5], (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (3, "b", (0, 0, 0)),
        (3, "1b", (0, 0, 0)),
        (2, "s", ()),
    ],
)
def test_a_card_is_ranked_from_the_best_to_the_worst(answers, keys, scores):
    deck, step = pressed(deck_of(card("Hi", answers), card("Bye")), keys)
    assert step.done.scores == pytest.approx(scores)
    assert step.done.card.prompt == "Hi"
    assert deck.card.prompt == "Bye"
    assert deck.done == (step.done,)
    assert deck.placed == ()


@pytest.mark.parametrize(("key", "score"), [("1", 0), ("2", 0.25), ("3", 0.5), ("5", 1)])
def test_a_lone_answer_is_marked(key, score):
    _, step = deck_of(card(answers=1), mark=True).press(key)
    assert step.done.scores == (score,)


def test_the_keys_are_those_that_do_something():
    deck = deck_of(card("Hi", 3), card("Bye"))
    assert deck.keys == ("1", "2", "3", "s", "b")
    deck, step = deck.press("2")
    assert step.done is None
    assert deck.keys == ("1", "3", "s", "b", "u")
    deck, _ = pressed(deck, "1s")
    assert deck.card is None
    assert deck.keys == ("u",)
    assert deck_of(card(answers=1), mark=True).keys == ("1", "2", "3", "4", "5", "s")
    assert deck_of().keys == ()


@pytest.mark.parametrize("key", ["3", "0", "u", "x", "12"])
def test_any_other_key_is_refused(key):
    with pytest.raises(ValueError, match=key):
        deck_of(card()).press(key)


def test_undo_takes_back_a_step_and_then_a_card():
    first = deck_of(card("Hi", 3), card("Bye"))
    deck, _ = first.press("3")
    assert deck.press("u")[0] == first
    ranked, done = pressed(first, "31")
    back, step = ranked.press("u")
    assert step.undone == done.done
    assert back == first
    # Of a card that was left in the midst, the choices go first.
    half, _ = pressed(deck_of(card("Hi"), card("Bye", 3)), "11")
    assert half.press("u")[0].placed == ()
    assert half.press("u")[0].press("u")[0].card.prompt == "Hi"


def test_a_deck_is_never_changed():
    deck = deck_of(card())
    pressed(deck, "1")
    assert deck == deck_of(card())
