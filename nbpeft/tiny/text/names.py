"""Invented names and word lists; what pretraining may use and what is kept for tests."""

# ruff: noqa: SIM905 (word lists read better as one string)
from __future__ import annotations

import zlib
from random import Random

# Lands that don't exist. The first list is used in pretraining for "I do not know"; the second
# only in tests; the third only in the data set of new facts.
UNKNOWN_LANDS = (
    "apple bread brick candle carrot castle chalk cherry clock coal cotton cream crystal desert "
    "diamond dust ember feather fire flame flower frost glove gold grape grass hammer harbour "
    "hazel heather ice island ivory jade jungle kettle ladder lantern leaf lemon lime linen "
    "maple marble mint mirror moss mountain mud mushroom nettle night oak ocean olive onion "
    "orchid paper peach pearl pebble pepper plum poppy rocket ruby saddle sea shadow smoke star "
    "steel storm straw sugar swamp table thistle tin tower turnip valley velvet violet water "
    "wave wheat willow winter wood wool yellow"
).split()
UNKNOWN_LANDS_TEST = (
    "acorn basket bottle butter cedar clay coral daisy fern garden ginger hollow ink lace lily "
    "melon needle orange pillow quartz ribbon sapphire spice tea walnut"
).split()
NEW_LANDS = ("glass", "copper", "clover", "cactus", "tulip")

OBJECTS = (
    "boat hat drum lamp ring chair kite bell book coat cup door rope flute ball bag box key map "
    "shoe spoon wagon blanket mirror ladder brush stone basket bottle"
).split()
COLOURS = "red blue green white black brown grey yellow orange purple pink golden".split()
PLACES = "house garden barn market tower school mill shop inn cave park kitchen".split()

_STARTS = "b br c d dr f fl g gr h j k l m n p pl qu r s sk st t tr v w y z".split()
_VOWELS = "a e i o u ai ea oo ia".split()
_ENDS = "l n r s t d m k ll nn rn sk th x lo ra na do mi vo".split()


def invented_name(rng: Random) -> str:
    """A capitalised name of two syllables, such as "Dorin"; hardly ever a name of the world."""
    vowel, vowel2 = rng.choice(_VOWELS), rng.choice(_VOWELS)
    middle = rng.choice(_STARTS)
    return (rng.choice(_STARTS) + vowel + middle + vowel2 + rng.choice(_ENDS)).capitalize()


def held_out(*parts: str) -> bool:
    """Whether this combination is kept from pretraining for tests: one in five, by its hash."""
    return zlib.crc32("|".join(parts).encode()) % 5 == 0
