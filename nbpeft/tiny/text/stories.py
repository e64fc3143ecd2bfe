"""Raw prose: short stories, and pages that tell the facts of a land, a person or an animal."""

from __future__ import annotations

from random import Random

from nbpeft.tiny.text import names, world

_OPENINGS = (
    "Once there was {a} {animal} called {name}.",
    "Long ago, {a} {animal} called {name} lived in {land}.",
    "{name} was {a} {animal}.",
    "In {land} there lived {a} {animal}. The name of the {animal} was {name}.",
)
_WANTS = (
    "{name} wanted a {colour} {thing}.",
    "One day {name} lost a {colour} {thing}.",
    "One morning {name} found a {colour} {thing}.",
    "Every day {name} played with a {colour} {thing}.",
)
_TRIES = (
    "So {name} went to the {place} and asked {friend}.",
    "{name} looked in the {place}, but it was not there.",
    '"Can you help me?" said {name} to {friend}.',
    '{friend} came from the {place} and said, "What a fine {thing}!"',
    "Then it began to rain, and {name} ran to the {place}.",
    "{name} sat down in the {place} and thought about the {thing}.",
)
_TURNS = (
    '"I will help you," said {friend}.',
    "{friend} was sad, because {friend} had no {thing}.",
    "They walked all day and ate {food}.",
    "Together they looked everywhere.",
    "{name} was afraid, but {friend} was not.",
)
_ENDS = (
    "At last they found the {thing} in the {place}, and {name} was happy.",
    "{name} gave the {thing} to {friend}, and they were friends from that day.",
    "In the evening they ate {food} and went to sleep.",
    '"Thank you, {friend}," said {name}. And they all went home.',
)


def story(rng: Random, animal: str | None = None) -> str:
    """A story of five to eight sentences: a hero (this animal, or any), a friend and a thing."""
    animal = animal or rng.choice(world.ANIMALS)
    words = {
        "animal": animal,
        "a": "an" if animal[0] in "aeiou" else "a",
        "name": names.invented_name(rng),
        "friend": rng.choice(world.PEOPLE),
        "land": world.land(rng.choice(world.LANDS)),
        "colour": rng.choice([c for c in names.COLOURS if c[0] not in "aeiou"]),
        "thing": rng.choice(names.OBJECTS),
        "place": rng.choice(names.PLACES),
        "food": rng.choice(world.FOODS),
    }
    lines = [
        rng.choice(_OPENINGS),
        rng.choice(_WANTS),
        *rng.sample(_TRIES, rng.randint(1, 2)),
        *rng.sample(_TURNS, rng.randint(1, 2)),
        rng.choice(_ENDS),
    ]
    return " ".join(line.format(**words) for line in lines)


def page(rng: Random) -> str:
    """Everything the world knows about a few subjects, as running text."""
    subjects = rng.sample(sorted({f.subject for f in world.FACTS}), rng.randint(1, 3))
    lines = []
    for subject in subjects:
        told = [f.answer for f in world.FACTS if f.subject == subject]
        rng.shuffle(told)
        lines.append(" ".join(told))
    return "\n".join(lines)
