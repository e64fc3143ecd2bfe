"""Lessons: the same answer as student and teacher read it, over one turn and over several."""

from __future__ import annotations

import pytest

from nbpeft.data import default_rendering
from nbpeft.data.context import context_of
from nbpeft.data.prompting import PLAIN
from nbpeft.errors import RequestError
from nbpeft.objectives._lessons import Conversations, Turn, joined, pool_of, trained
from nbpeft.objectives._policy import NUMBER

ASKED = ("Where is the crow?", "Who is Mila?")


def conversations(tokenizer, **words):
    rendering = default_rendering(tokenizer)
    usual = {
        "tokenizer": tokenizer,
        "rendering": rendering,
        "way": context_of("Talk like a pirate."),
        "teacher_tokenizer": tokenizer,
        "teacher_rendering": rendering,
        "foreign": False,
        "turns": 1,
        "each": 1,
        "longest": 8,
        "most": 512,
        "window": None,
        "seed": 1,
    }
    return Conversations(**usual | words)


def rows(*prompts):
    return [{"prompt": prompt, NUMBER: number} for number, prompt in enumerate(prompts)]


@pytest.fixture
def tiny_tokenizer(tiny_pair):
    return tiny_pair[1]


@pytest.fixture
def write(tiny_tokenizer):
    """Answers that say which turn they are, and end."""

    def answers(places, prompts):
        end = tiny_tokenizer.eos_token_id
        texts = [f"Arr {number} {turn}" for number, _, turn in places]
        return [
            [*tiny_tokenizer(text, add_special_tokens=False)["input_ids"], end] for text in texts
        ]

    return answers


def test_both_sides_learn_the_same_tokens(tiny_tokenizer, write):
    held = conversations(tiny_tokenizer).held(rows(*ASKED), [], write, by_teacher=True)
    (lesson,) = joined(held[1][0])
    labelled = [t for t, x in zip(lesson.ids, lesson.labels, strict=True) if x >= 0]
    taught = [t for t, x in zip(lesson.taught, lesson.taught_labels, strict=True) if x >= 0]
    assert labelled == taught
    assert tiny_tokenizer.decode(labelled[:-1]) == "Arr 1 0"
    assert "pirate" in tiny_tokenizer.decode(lesson.taught)
    assert "pirate" not in tiny_tokenizer.decode(lesson.ids)
    assert lesson.tokens == len(labelled)


def test_turns_are_one_text_with_the_context_at_its_beginning(tiny_tokenizer, write):
    pool = ["What is a heron?"]
    held = conversations(tiny_tokenizer, turns=3).held(rows(*ASKED), pool, write, by_teacher=True)
    (lesson,) = joined(held[0][0])
    text = tiny_tokenizer.decode(lesson.taught)
    assert text.count("pirate") == 1
    assert text.count("heron") == 2
    learned = [t for t, x in zip(lesson.ids, lesson.labels, strict=True) if x >= 0]
    said = tiny_tokenizer.decode(learned, skip_special_tokens=True)
    assert said.replace(" ", "") == "Arr00Arr01Arr02"


def test_a_conversation_ends_where_there_is_no_room(tiny_tokenizer, write):
    room = conversations(tiny_tokenizer, turns=3, most=36)
    held = room.held(rows(*ASKED), ["What is a heron?"], write, by_teacher=False)
    (lesson,) = joined(held[0][0])
    assert 0 < len(held[0][0]) < 3
    assert len(lesson.ids) <= 36


def test_the_writer_is_handed_what_it_reads(tiny_tokenizer, write):
    seen = []

    def look(places, prompts):
        seen.extend(tiny_tokenizer.decode(prompt) for prompt in prompts)
        return write(places, prompts)

    for by_teacher in (True, False):
        conversations(tiny_tokenizer).held(rows(ASKED[0]), [], look, by_teacher=by_teacher)
    assert ["pirate" in text for text in seen] == [True, False]


def test_several_answers_to_a_prompt_are_conversations_of_their_own(tiny_tokenizer, write):
    held = conversations(tiny_tokenizer, each=2).held(rows(*ASKED), [], write, by_teacher=True)
    assert [len(turns) for turns in held.values()] == [2, 2]


def test_a_template_that_writes_answers_otherwise_splits_the_lesson():
    turns = [Turn([1, 2], [9, 1, 2], [3, 4]), Turn([1, 2, 5, 6], [9, 1, 2, 5, 6], [7])]
    first, second = joined(turns)
    assert (first.ids, first.labels) == ([1, 2, 3, 4], [-100, -100, 3, 4])
    assert (second.ids, second.labels) == ([1, 2, 5, 6, 7], [-100] * 4 + [7])
    turns[1] = Turn([1, 2, 3, 4, 6], [9, 1, 2, 3, 4, 6], [7])
    (whole,) = joined(turns)
    assert whole.taught_labels == [-100, -100, -100, 3, 4, -100, 7]


def test_a_foreign_teacher_is_written_anew(tiny_tokenizer):
    def write(places, prompts):
        return [[1, 2, 3] for _ in prompts]

    class Other:
        """Its ids are another vocabulary's."""

        def __getattr__(self, name):
            return getattr(tiny_tokenizer, name)

        def __call__(self, *args, **words):
            return tiny_tokenizer(*args, **words)

        @staticmethod
        def decode(*_, **__):
            return " Arr, matey! "

    foreign = conversations(tiny_tokenizer, foreign=True, way=PLAIN, teacher_tokenizer=Other())
    held = foreign.held(rows(ASKED[0]), [], write, by_teacher=True)
    answer = held[0][0][0].answer
    assert answer[-1] == tiny_tokenizer.eos_token_id
    assert tiny_tokenizer.decode(answer[:-1]) == "Arr, matey!"


def test_what_users_go_on_with_is_what_they_asked_last():
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert pool_of(["x", [*chat, {"role": "user", "content": "c"}]]) == ["x", "c"]
    assert trained([7, -100, 7, 7]) == 2


@pytest.mark.parametrize("given", ["", "  \n ", []])
def test_an_empty_context_is_refused(given):
    with pytest.raises(RequestError, match="empty"):
        context_of(given)


def test_an_example_without_an_answer_is_refused():
    with pytest.raises(RequestError, match="Example 1"):
        context_of([{"prompt": "a", "completion": "b"}, {"prompt": "a"}])
