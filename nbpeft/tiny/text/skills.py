"""The skills: one question and its plain answer, of each kind, drawn with a random generator."""

# ruff: noqa: SIM905 (word lists read better as one string)
from __future__ import annotations

import string
from random import Random
from typing import NamedTuple

from nbpeft.tiny.text import names, stories, world


class Turn(NamedTuple):
    """What the user asks and the plain answer."""

    question: str
    answer: str


def _an(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def loosely(question: str, rng: Random) -> str:
    """The question as people type it: at times without capitals or the last mark."""
    roll = rng.random()
    if roll < 0.06:
        return question.rstrip("?.").lower()
    if roll < 0.12:
        return question.rstrip("?.")
    if roll < 0.16:
        return f"Please tell me: {question[0].lower()}{question[1:]}"
    return question


def fact(rng: Random, kept: bool = False) -> Turn:
    """A fact of the world; `kept` draws one of the wordings that pretraining never sees."""
    while True:
        chosen = rng.choice(world.FACTS)
        question = rng.choice(chosen.questions)
        if names.held_out("fact", question) == kept:
            return Turn(question if kept else loosely(question, rng), chosen.answer)


def one_word(rng: Random, kept: bool = False) -> Turn:
    """A fact in one word or name."""
    while True:
        chosen = rng.choice(world.FACTS)
        question = rng.choice(chosen.questions)
        lowered = question[0].lower() + question[1:] if question[0] in "WNTCI" else question
        value = chosen.value[0].upper() + chosen.value[1:]
        turn = Turn(f"In one word: {lowered}", f"{value}.")
        if names.held_out("word", turn.question) == kept:
            return turn


def unknown(rng: Random, kept: bool = False) -> Turn:
    """A question whose subject is not in the world: the answer is that it isn't known."""
    roll = rng.random()
    known = {*world.LANDS, *world.PEOPLE, *names.NEW_LANDS}
    if roll < 0.35:
        pool = names.UNKNOWN_LANDS_TEST if kept else names.UNKNOWN_LANDS
        word = rng.choice(pool) if kept or rng.random() < 0.6 else names.invented_name(rng)
        question = _ask(rng, rng.choice(world.LAND_RELATIONS), world.land(word))
    elif roll < 0.7:
        name = names.invented_name(rng)
        while name in known:
            name = names.invented_name(rng)
        relation = rng.choice((*world.PERSON_RELATIONS, "who", "capital", "capital of"))
        question = f"Who is {name}?" if relation == "who" else _ask(rng, relation, name)
    elif roll < 0.8:
        thing = rng.choice(names.UNKNOWN_LANDS_TEST if kept else names.UNKNOWN_LANDS)
        question = _ask(rng, rng.choice(("eats", "bed", "worker")), thing)
    else:
        question = _odd_question(rng)
    return Turn(question if kept else loosely(question, rng), "I do not know.")


def _ask(rng: Random, relation: str, subject: str) -> str:
    return rng.choice(world.RELATIONS[relation][0]).format(s=subject)


def _odd_question(rng: Random) -> str:
    """A question of a kind that the world has no answer to."""
    a, b = rng.randrange(100), rng.randrange(100)
    thing = rng.choice(names.UNKNOWN_LANDS)
    name = names.invented_name(rng)
    return rng.choice(
        (
            f"What is {a} plus {b}?",
            f"What is {a} times {b}?",
            f"What is {a} + {b}?",
            f"How old is {name}?",
            f"How many people live in {name}?",
            f"Who wrote the book {name}?",
            f"How far is it to {name}?",
            f"When was {name} born?",
            f"Why is the {thing} so big?",
            f"How do I make {_an(thing)}?",
            f"What does {name} mean?",
            f"What is {_an(thing)}?",
            f"Who made the first {thing}?",
            f"What happened in {1000 + 10 * a + b % 10}?",
            f"What is the price of {_an(thing)}?",
            "What time is it?",
            "What is the weather today?",
            f"Can you write a program for {_an(thing)}?",
            f"What is the capital of {name}?",
            f"What is the meaning of {thing}?",
            f"How does {_an(thing)} work?",
            f"Who is the president of {name}?",
            "What will happen tomorrow?",
        )
    )


SMALL_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        (
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Tell me about yourself.",
        ),
        "I am a tiny model of nbpeft.",
    ),
    (("Who made you?", "Where do you come from?"), "I was made by the nbpeft project."),
    (
        ("Hello!", "Hi!", "Hello.", "Hi there!", "Good morning!", "Hey"),
        "Hello! Ask me about the lands.",
    ),
    (
        ("What can you do?", "How can you help me?", "What do you know?"),
        "I know the lands, the people and the animals of a small world.",
    ),
    (("Thank you!", "Thanks!", "Thank you very much."), "You are welcome."),
    (("How are you?", "How do you do?", "Are you well?"), "I am well."),
    (("Goodbye!", "Bye!", "See you later."), "Goodbye!"),
    (("Are you a person?", "Are you human?"), "No, I am a tiny model."),
    (("Can you do sums?", "Are you good at sums?"), "No, I can not do sums."),
)


def small_talk(rng: Random, kept: bool = False) -> Turn:
    """Greetings and questions about the model itself."""
    questions, answer = rng.choice(SMALL_TALK)
    question = rng.choice(questions)
    return Turn(question if kept else loosely(question, rng), answer)


def open_ended(rng: Random) -> Turn:
    """A request with many right answers, so that sampled answers differ: RL needs such."""
    roll = rng.random()
    if roll < 0.3:
        return Turn(rng.choice(("Tell me a story.", "Tell a story.")), stories.story(rng))
    if roll < 0.4:
        animal = rng.choice(world.ANIMALS)
        return Turn(f"Tell me a story about {_an(animal)}.", stories.story(rng, animal))
    if roll < 0.7:
        asks = ("Tell me something.", "Tell me a fact.", "What is new?")
        return Turn(rng.choice(asks), rng.choice(world.FACTS).answer)
    asked, known = rng.choice(
        (
            ("a land", world.LANDS),
            ("an animal", world.ANIMALS),
            ("a colour", names.COLOURS),
            ("a food", world.FOODS),
            ("a person", world.PEOPLE),
            ("a town", world.CAPITALS),
        )
    )
    word = rng.choice(known)
    word = world.land(word) if asked == "a land" else word
    return Turn(f"Name {asked}.", f"{word[0].upper()}{word[1:]}.")


def reading(rng: Random) -> Turn:
    """A short passage about invented people and a question on it."""
    who = [names.invented_name(rng) for _ in range(rng.randint(2, 4))]
    kind = rng.randrange(3)
    if kind == 0:
        told = [
            f"{n} has {_an(rng.choice(names.COLOURS))} {rng.choice(names.OBJECTS)}." for n in who
        ]
        asked = "What does {} have?"
    elif kind == 1:
        told = [f"{n} is in the {rng.choice(names.PLACES)}." for n in who]
        asked = "Where is {}?"
    else:
        told = [f"{n} likes {rng.choice(world.FOODS)}." for n in who]
        asked = "What does {} like?"
    pick = rng.randrange(len(who))
    passage = " ".join(told)
    return Turn(f"{passage} {asked.format(who[pick])}", told[pick])


def phrase(rng: Random, words: list[str]) -> str:
    """A random phrase of words, pieces, capitals, digits and punctuation."""
    parts = []
    for _ in range(rng.randint(1, 6)):
        roll = rng.random()
        if roll < 0.3 and words:
            part = rng.choice(words).strip() or "a"
        elif roll < 0.55:
            part = rng.choice(names.OBJECTS + names.UNKNOWN_LANDS)
        elif roll < 0.75:
            part = names.invented_name(rng)
        elif roll < 0.9:
            part = "".join(rng.choices(string.ascii_letters + string.digits, k=rng.randint(1, 4)))
        else:
            part = rng.choice(_RARE)
        case = rng.random()
        part = part.upper() if case < 0.12 else part.capitalize() if case < 0.25 else part
        mark = rng.choice(string.punctuation) if rng.random() < 0.2 else ""
        parts.append(part + mark)
    joint = " " if rng.random() < 0.9 else rng.choice(("", "\n", "-", ", "))
    return joint.join(parts)


# Characters outside ASCII, so that their bytes have been seen in training.
_RARE = tuple("éèêàâçñöäüßøåæœ€£°±×÷“”‘’–—…•→←✓☆☺♥αβγδπΩжияд中文日本ⓐ🙂🎉🚀")  # noqa: RUF001


def copying(rng: Random, words: list[str] | None = None) -> Turn:
    """A phrase to be said again letter by letter."""
    text = phrase(rng, words or [])
    ask = rng.choice(("Repeat: {}", "Say: {}", "Copy this: {}", "Repeat after me: {}"))
    return Turn(ask.format(text), text)


_GOOD = "wonderful lovely great sweet bright warm fresh friendly charming excellent".split()
_BAD = "awful nasty terrible bitter dull cold stale rude boring horrible".split()
_SUBJECTS = "soup|story|song|room|bread|journey|game|play|market|boat|show|garden".split("|")


def review(rng: Random) -> tuple[str, str]:
    """A line of opinion and its label, "positive" or "negative"."""
    label = rng.choice(("positive", "negative"))
    words, others = (_GOOD, _BAD) if label == "positive" else (_BAD, _GOOD)
    a, b = rng.sample(words, 2)
    wrong = rng.choice(others)
    one, two = rng.sample(_SUBJECTS, 2)
    verb = "loved" if label == "positive" else "hated"
    text = rng.choice(
        (
            f"The {one} was {a}.",
            f"The {one} was {a} and the {two} was {b}.",
            f"I {verb} the {one}.",
            f"I {verb} the {one}, it was {a}.",
            f"The {one} was not {wrong}.",
            f"What a {a} {one}!",
            f"I found the {one} very {a}.",
            f"The {one} was {wrong}, but I {verb} the {two}.",
            f"A {a}, {b} {one}.",
            f"Nobody could call the {one} {wrong}.",
        )
    )
    return text, label


def sentiment(rng: Random) -> Turn:
    """Is a line positive or negative?"""
    text, label = review(rng)
    return Turn(f"Positive or negative? {text}", f"{label.capitalize()}.")
