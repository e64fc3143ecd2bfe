"""What can be asked of a rating, who answers what, and what is rated already."""

import pytest

from nbpeft.errors import RequestError
from nbpeft.magics.rate import FLAGS, TEXTS, peft_rate
from nbpeft.rating import RateRequest, rate_options
from nbpeft.rating.turns import draw, unrated

PROMPTS = [f"prompt {i}" for i in range(40)]


def of(*names, **words):
    return RateRequest.of(names, words)


@pytest.mark.parametrize(
    ("names", "words", "says"),
    [
        ([], {"answers": 7}, "answers can't be 7"),
        ([], {"answers": 1}, "--mark"),
        ([], {"answers": 3, "mark": True}, "leave --answers out"),
        (["a", "b"], {"answers": 3}, "each of a, b gives one"),
        ([], {"into": "../x"}, "into can't be '../x'"),
        ([], {"into": "for"}, "into can't be 'for'"),
        ([], {"into": "_"}, "a letter first"),
        ([], {"into": "a" * 65}, "at most 64"),
        ([], {"count": 0}, "count must be at least 1"),
        ([], {"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ([], {"rows": "1,2", "count": 3}, "give one of them"),
        ([], {"rows": "x"}, "rows can't be 'x'"),
        ([], {"marks": True}, "Did you mean --mark"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(names, words, says):
    with pytest.raises(RequestError) as refused:
        of(*names, **words)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_words_are_read_as_they_are_typed():
    request = of("a", "b", "a", rows="0,5", columns="prompt=q", into=None, sample=True)
    assert (request.names, request.rows, request.into) == (("a", "b"), [0, 5], "ratings")
    assert request.columns == {"prompt": "q"}
    assert of(rows="[3]").rows == of(rows=3).rows == [3]


def test_the_help_has_every_option_and_the_magic_reads_it():
    words = " ".join(peft_rate.__doc__.split())
    for option in rate_options():
        flag = f"--{option.name.replace('_', '-')}"
        assert f"{flag} {option.metadata['shown']}".strip() in words
        assert option.metadata["help"] in words
    kinds = {o.name: o.type for o in rate_options()}
    assert {name for name, kind in kinds.items() if kind == "bool"} == FLAGS
    assert {name for name, kind in kinds.items() if "str" in kind and "dict" not in kind} <= TEXTS


# Who answers what


def test_several_names_give_one_answer_each_and_are_greedy():
    turns = draw(of("a", "b"), ["a", "b"], PROMPTS)
    assert [turn.prompt for turn in turns] == PROMPTS
    assert {(turn.answers, turn.seed) for turn in turns} == {(2, None)}
    assert {frozenset(turn.adapters) for turn in turns} == {frozenset("ab")}


def test_a_lone_name_is_sampled_and_each_prompt_by_a_seed_of_its_own():
    turns = draw(of("a", answers=3, seed=5), ["a"], PROMPTS)
    assert {(turn.adapters, turn.answers) for turn in turns} == {(("a",), 3)}
    assert [turn.seed for turn in turns] == list(range(5, 45))


def test_of_many_names_each_prompt_draws_its_own():
    labels = list("abcdefgh")
    turns = draw(of(answers=2), labels, PROMPTS)
    assert {len(set(turn.adapters)) for turn in turns} == {2}
    assert {name for turn in turns for name in turn.adapters} == set(labels)
    assert {turn.answers for turn in draw(of(), labels, PROMPTS)} == {6}


def test_marks_are_a_turn_a_name_in_a_random_order():
    turns = draw(of(mark=True), ["a", "b"], PROMPTS)
    assert {(turn.prompt, *turn.adapters) for turn in turns} == {
        (prompt, name) for prompt in PROMPTS for name in "ab"
    }
    names = "".join(turn.adapters[0] for turn in turns)
    assert names not in ("ab" * 40, "a" * 40 + "b" * 40)
    assert {turn.answers for turn in turns} == {1}


def test_the_same_seed_draws_the_same_and_another_something_else():
    first = draw(of(answers=2), list("abc"), PROMPTS)
    assert first == draw(of(answers=2), list("abc"), PROMPTS)
    assert first != draw(of(answers=2, seed=1), list("abc"), PROMPTS)


def row(prompt, adapter, group, seed=None):
    return {"prompt": prompt, "adapter": adapter, "group": group, "seed": seed}


def test_what_stands_in_the_book_is_left_out():
    chat = [{"role": "user", "content": "Hi"}]
    turns = draw(of(), ["a", "b"], ["Hi", "Bye", chat, "So?"])
    rows = [
        *(row("Hi", "a", "1"), row("Hi", "b", "1"), row("Hi", "c", "1")),
        *(row("Bye", "a", "2"), row("Bye", "b", "3")),  # each against others
        *(row(chat, "a", "4"), row(chat, "b", "4")),
        *(row("So?", "a", "5", seed=1), row("So?", "b", "5", seed=1)),  # other texts
    ]
    assert [turn.prompt for turn in unrated(turns, rows)] == ["Bye", "So?"]
    assert unrated(turns, []) == turns


def test_samples_are_left_out_under_their_seed_only():
    turns = draw(of("a", seed=5), ["a"], ["Hi", "Bye"])
    rows = [row("Hi", "a", "1", seed=5), row("Bye", "a", "2", seed=5)]
    assert [turn.prompt for turn in unrated(turns, rows)] == ["Bye"]
