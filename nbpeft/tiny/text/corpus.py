"""The mixture that pretraining reads: chats, plain or in a style, and raw text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from nbpeft.tiny.text import names, skills, stories, styles
from nbpeft.tiny.text.skills import Turn

Message = dict[str, str]
Document = list[Message] | str
"""A chat as a list of {"role", "content"}, or raw text."""

Skill = Callable[[Random], Turn]

_PLAIN: tuple[tuple[Skill, float], ...] = (
    (skills.fact, 38),
    (skills.unknown, 15),
    (skills.reading, 16),
    (skills.one_word, 7),
    (skills.sentiment, 5),
    (skills.small_talk, 5),
    (skills.copying, 12),
    (skills.open_ended, 4),
)
_STYLED: tuple[tuple[Skill, float], ...] = (
    (skills.fact, 66),
    (skills.unknown, 12),
    (skills.reading, 12),
    (skills.small_talk, 10),
)


def _draw(rng: Random, mixture: tuple[tuple[Skill, float], ...], words: list[str]) -> Turn:
    skill = rng.choices([s for s, _ in mixture], weights=[w for _, w in mixture])[0]
    return skills.copying(rng, words=words) if skill is skills.copying else skill(rng)


def chat(turns: list[Turn], system: str | None = None) -> list[Message]:
    """Turns as messages, after a system prompt where one is given."""
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    return messages


def _length(rng: Random) -> int:
    """How many turns a chat has: mostly one or two, at times a dozen (about 300 tokens)."""
    return rng.randint(6, 12) if rng.random() < 0.03 else rng.choice((1, 1, 1, 2, 2, 3))


def plain_chat(rng: Random, words: list[str]) -> list[Message]:
    """Turns of any skill, plainly answered, at times under a system prompt that asks nothing."""
    turns = [_draw(rng, _PLAIN, words) for _ in range(_length(rng))]
    if rng.random() < 0.05:
        name = names.invented_name(rng)
        turns.insert(0, Turn(f"My name is {name}.", f"Hello {name}!"))
        turns.append(Turn("What is my name?", f"Your name is {name}."))
    return chat(turns, rng.choice(styles.NEUTRAL) if rng.random() < 0.12 else None)


def styled_chat(rng: Random, words: list[str]) -> list[Message]:
    """Turns under a system prompt that asks for a style; some pairs are held out for tests."""
    # Capitals are other tokens than small letters, so each fact must be learned once more.
    style = rng.choice((*styles.STYLES.values(), styles.STYLES["shout"], styles.STYLES["shout"]))
    ask, apply = styles.system_prompt(style, rng), style.apply
    made_up = rng.random() < 0.15
    if made_up:
        ask, apply = styles.with_words(rng, skills.phrase(rng, words))
    turns = []
    for _ in range(_length(rng)):
        turn = _draw(rng, _STYLED, words)
        while not made_up and names.held_out(style.name, turn.answer):
            turn = _draw(rng, _STYLED, words)
        turns.append(Turn(turn.question, apply(turn.answer)))
    return chat(turns, ask)


def short_chat(rng: Random) -> list[Message]:
    """One-word answers because the system prompt wants them, and facts told by it."""
    if rng.random() < 0.5:
        turn = skills.reading(rng)
        told, _, question = turn.question.rpartition(". ")
        return chat([Turn(question, turn.answer)], f"{told}.")
    turn = skills.one_word(rng)
    question = turn.question.removeprefix("In one word: ")
    ask = rng.choice(("Answer in one word.", "One word only.", "Be very short."))
    return chat([Turn(question[0].upper() + question[1:], turn.answer)], ask)


def documents(seed: int, words: list[str]) -> Iterator[Document]:
    """An endless stream of documents; `words` are what random phrases are made of."""
    rng = Random(seed)
    while True:
        roll = rng.random()
        if roll < 0.58:
            yield plain_chat(rng, words)
        elif roll < 0.88:
            yield styled_chat(rng, words)
        elif roll < 0.92:
            yield short_chat(rng)
        elif roll < 0.98:
            yield stories.story(rng)
        else:
            yield stories.page(rng)
