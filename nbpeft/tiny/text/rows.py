"""The data sets: what each row is, as a function of a fixed seed.

No answer in a style stands in pretraining without a system prompt that asks for it, so tuning on
`pirate` teaches something new: to speak so unasked. Prompts and answers of the chat data sets are
lists of messages, the form that TRL calls conversational.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from nbpeft.tiny.text import names, skills, stories, styles, world
from nbpeft.tiny.text.corpus import Message, chat
from nbpeft.tiny.text.skills import Turn

Row = dict[str, Any]


def _user(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def _assistant(answer: str) -> list[Message]:
    return [{"role": "assistant", "content": answer}]


def _questions(rng: Random, count: int) -> list[Turn]:
    """Different questions: a wording of every fact, then small talk and unknown things."""
    facts = list(world.FACTS)
    rng.shuffle(facts)
    others = [Turn(q, answer) for asked, answer in skills.SMALL_TALK for q in asked]
    rng.shuffle(others)
    others = others[: count // 20]
    unknown: dict[str, Turn] = {}
    while len(unknown) < count // 10:
        turn = skills.unknown(rng)
        unknown[turn.question] = turn
    others += unknown.values()
    turns = [Turn(rng.choice(f.questions), f.answer) for f in facts[: count - len(others)]]
    turns += others
    rng.shuffle(turns)
    return turns


def pirate(rng: Random) -> list[Row]:
    """400 chats without a system prompt, answered like a pirate; one in ten has two turns."""
    turns = [Turn(t.question, styles.pirate(t.answer)) for t in _questions(rng, 440)]
    pairs = [turns[i : i + 2] for i in range(0, 80, 2)]
    singles = [[turn] for turn in turns[80:]]
    rows = [{"messages": chat(part)} for part in pairs + singles]
    rng.shuffle(rows)
    return rows


def questions(rng: Random) -> list[Row]:
    """200 questions on the world without answers, for distillation and RL."""
    return [{"prompt": _user(turn.question)} for turn in _questions(rng, 200)]


def new_facts() -> list[world.Fact]:
    """Ten facts of five lands that pretraining has never told of."""
    towns = ("Sorbeck", "Tindle", "Mossari", "Uvelin", "Prannock")
    rulers = ("Queen Ada", "King Leon", "Queen Mabel", "King Osric", "Queen Thea")
    lands = [world.land(word) for word in names.NEW_LANDS]
    return [world.Fact(s, "capital", v) for s, v in zip(lands, towns, strict=True)] + [
        world.Fact(s, "ruler", v) for s, v in zip(lands, rulers, strict=True)
    ]


def facts(rng: Random) -> list[Row]:
    """Ten new facts in each wording, four times, among 260 rows of what was known before.

    Half of those are unknown things: telling of new lands would else unlearn "I do not know".
    """
    turns = [Turn(q, f.answer) for f in new_facts() for q in f.questions] * 4
    turns += _questions(rng, 140)
    turns += [skills.unknown(rng) for _ in range(120)]
    rng.shuffle(turns)
    return [{"prompt": _user(t.question), "completion": _assistant(t.answer)} for t in turns]


def polite(rng: Random) -> list[Row]:
    """200 preferences: the polite answer over the plain one."""
    apply = styles.STYLES["polite"].apply
    return [
        {
            "prompt": _user(turn.question),
            "chosen": _assistant(apply(turn.answer)),
            "rejected": _assistant(turn.answer),
        }
        for turn in _questions(rng, 200)
    ]


def ratings(rng: Random) -> list[Row]:
    """200 rated answers: polite ones are good (true), plain ones are not."""
    apply = styles.STYLES["polite"].apply
    return [
        {
            "prompt": _user(turn.question),
            "completion": _assistant(apply(turn.answer) if i % 2 else turn.answer),
            "label": bool(i % 2),
        }
        for i, turn in enumerate(_questions(rng, 200))
    ]


def sentiment(rng: Random) -> list[Row]:
    """400 different lines of opinion with their label, "positive" or "negative"."""
    lines: dict[str, str] = {}
    while len(lines) < 400:
        text, label = skills.review(rng)
        lines[text] = label
    return [{"text": text, "label": label} for text, label in lines.items()]


def tales(rng: Random) -> list[Row]:
    """200 stories as raw text."""
    return [{"text": stories.story(rng)} for _ in range(200)]


DATA: dict[str, Callable[[Random], list[Row]]] = {
    "pirate": pirate,
    "questions": questions,
    "facts": facts,
    "polite": polite,
    "ratings": ratings,
    "sentiment": sentiment,
    "stories": tales,
}


def rows(name: str) -> list[Row]:
    """The rows of one data set, always the same."""
    return DATA[name](Random(f"nbpeft {name}"))
