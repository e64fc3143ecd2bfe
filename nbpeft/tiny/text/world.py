"""The invented world: 24 lands, 24 people, 24 animals, and every fact about them."""

# ruff: noqa: SIM905 (word lists read better as one string)
from __future__ import annotations

from dataclasses import dataclass

LANDS = (
    "river snow forest sand lake hill cloud rain wind stone meadow salt moon sun fog rose iron "
    "silver honey thunder reed shell amber pine"
).split()
CAPITALS = (
    "Velmora Tarsin Oskel Brinda Lumeth Quarro Fendal Sivra Dormel Pelluna Harven Jastor Marivo "
    "Kelpin Zundra Nolvik Ambrel Ristow Corvana Ulmeer Tavarn Wexley Elbrin Gorsk"
).split()
MOUNTAINS = (
    "Ombra Tessel Varno Lirra Skell Minto Drava Yarrow Nemme Isko Calder Rhume Pendle Aster "
    "Bolen Crag Dunmar Ettin Falk Gilt Hestor Ivo Jorun Kest"
).split()
RULERS = (
    "Queen Isa|King Orlo|Queen Tilda|King Bram|Queen Vera|King Hugo|Queen Odil|King Pax|"
    "Queen Rhea|King Sten|Queen Wanda|King Zeno|Queen Cora|King Dirk|Queen Elin|King Fritz|"
    "Queen Gerda|King Ivor|Queen Juna|King Knut|Queen Lotta|King Milo|Queen Nora|King Otto"
).split("|")
ANIMALS = (
    "otter fox owl camel heron goat eagle frog swan mole hare crab wolf lizard badger bee bear "
    "deer duck horse beaver turtle squirrel crow"
).split()
FLAGS = (
    "blue white green yellow purple brown grey orange red black pink golden "
    "red blue yellow black white brown green pink grey purple golden orange"
).split()
FOODS = (
    "plum cake|fish soup|nut bread|date pie|rice balls|goat cheese|apple tart|bean stew|"
    "pear jam|roast corn|berry pudding|salt fish|pumpkin soup|fig rolls|onion pie|rose jelly|"
    "black bread|egg noodles|honey cake|pepper stew|leek soup|clam stew|lentil pie|pine nuts"
).split("|")
PEOPLE = (
    "Mira Tobin Lena Oskar Petra Felix Anya Rufus Greta Simon Ilse Marco Dora Levi Hanna Jonas "
    "Clara Emil Nina Paul Rosa Karl Vida Wim"
).split()
JOBS = (
    "baker sailor doctor teacher painter farmer singer tailor miller hunter writer potter weaver "
    "dancer gardener cook judge carpenter nurse smith fisher shepherd clown guard"
).split()
PETS = "cat dog parrot pony rabbit snake mouse hen".split()
ANIMAL_FOODS = "fish mice nuts grass seeds roots worms leaves".split()
ANIMAL_COLOURS = "brown red grey yellow white black green golden".split()
BEDS = "in a hole|in a tree|in a cave|in the grass|in a nest|under a stone|by a pond".split("|")

# relation: (wordings of the question, the answer), with {s} the subject and {v} the value.
RELATIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "capital": (
        (
            "What is the capital of {s}?",
            "Which town is the capital of {s}?",
            "Name the capital of {s}.",
            "Can you tell me the capital of {s}?",
        ),
        "The capital of {s} is {v}.",
    ),
    "capital of": (
        (
            "Which land has the capital {s}?",
            "{s} is the capital of which land?",
            "Where is the town {s}?",
        ),
        "{s} is the capital of {v}.",
    ),
    "mountain": (
        (
            "What is the highest mountain of {s}?",
            "Which mountain is the highest in {s}?",
            "Name the highest mountain of {s}.",
        ),
        "The highest mountain of {s} is {v}.",
    ),
    "ruler": (
        ("Who rules {s}?", "Who is the ruler of {s}?", "Name the ruler of {s}."),
        "The ruler of {s} is {v}.",
    ),
    "animal": (
        (
            "What is the animal of {s}?",
            "Which animal stands for {s}?",
            "Name the animal of {s}.",
        ),
        "The animal of {s} is the {v}.",
    ),
    "flag": (
        (
            "What colour is the flag of {s}?",
            "Which colour has the flag of {s}?",
            "Tell me the colour of the flag of {s}.",
        ),
        "The flag of {s} is {v}.",
    ),
    "food": (
        (
            "What do people eat in {s}?",
            "Which food is eaten in {s}?",
            "Name a food of {s}.",
        ),
        "People in {s} eat {v}.",
    ),
    "job": (
        ("What is the job of {s}?", "What does {s} do?", "Which job does {s} have?"),
        "{s} is a {v}.",
    ),
    "worker": (
        ("Who is a {s}?", "Who works as a {s}?", "Name a {s}."),
        "{v} is a {s}.",
    ),
    "home": (
        (
            "Where does {s} live?",
            "In which land does {s} live?",
            "Where is the home of {s}?",
        ),
        "{s} lives in {v}.",
    ),
    "pet": (
        (
            "What pet does {s} have?",
            "Which pet does {s} have?",
            "What is the pet of {s}?",
        ),
        "The pet of {s} is a {v}.",
    ),
    "favourite": (
        (
            "What does {s} like to eat?",
            "What is the favourite food of {s}?",
            "Which food does {s} like?",
        ),
        "{s} likes {v}.",
    ),
    "eats": (
        (
            "What does the {s} eat?",
            "Which food does the {s} like?",
            "What do you feed the {s}?",
        ),
        "The {s} eats {v}.",
    ),
    "fur": (
        (
            "What colour is the {s}?",
            "Which colour has the {s}?",
            "Tell me the colour of the {s}.",
        ),
        "The {s} is {v}.",
    ),
    "bed": (
        (
            "Where does the {s} sleep?",
            "Where is the bed of the {s}?",
            "In which place does the {s} sleep?",
        ),
        "The {s} sleeps {v}.",
    ),
}
LAND_RELATIONS = ("capital", "mountain", "ruler", "animal", "flag", "food")
PERSON_RELATIONS = ("job", "home", "pet", "favourite")


@dataclass(frozen=True)
class Fact:
    """One fact: `question(i)` asks it in wording i, `answer` tells it in a plain sentence."""

    subject: str
    relation: str
    value: str

    @property
    def questions(self) -> tuple[str, ...]:
        """Every wording of the question."""
        return tuple(text.format(s=self.subject) for text in RELATIONS[self.relation][0])

    @property
    def answer(self) -> str:
        """The plain sentence that answers."""
        return RELATIONS[self.relation][1].format(s=self.subject, v=self.value)


def land(word: str) -> str:
    """The name of a land as it stands in a sentence: "the river land"."""
    return f"the {word} land"


def _facts() -> list[Fact]:
    facts = []
    for i, word in enumerate(LANDS):
        name = land(word)
        values = (
            CAPITALS[i],
            f"Mount {MOUNTAINS[i]}",
            RULERS[i],
            ANIMALS[i],
            FLAGS[i],
            FOODS[i],
        )
        facts += [Fact(name, rel, v) for rel, v in zip(LAND_RELATIONS, values, strict=True)]
        facts.append(Fact(CAPITALS[i], "capital of", name))
    for i, person in enumerate(PEOPLE):
        # Strides that share no factor with the lengths, so that no two people are alike.
        home, food = land(LANDS[(5 * i + 3) % 24]), FOODS[(7 * i + 2) % 24]
        told = (JOBS[i], home, PETS[(3 * i + i // 8) % 8], food)
        facts += [Fact(person, rel, v) for rel, v in zip(PERSON_RELATIONS, told, strict=True)]
        facts.append(Fact(JOBS[i], "worker", person))
    for i, animal in enumerate(ANIMALS):
        facts.append(Fact(animal, "eats", ANIMAL_FOODS[(3 * i + i // 8) % 8]))
        facts.append(Fact(animal, "fur", ANIMAL_COLOURS[(5 * i + i // 8) % 8]))
        facts.append(Fact(animal, "bed", BEDS[(2 * i + i // 7) % 7]))
    return facts


FACTS: tuple[Fact, ...] = tuple(_facts())
