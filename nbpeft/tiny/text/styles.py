"""Ways of speaking: how a plain answer sounds in each, and the system prompts that ask for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

# First words that lose their capital when something is put before the sentence.
_COMMON = {"The", "People", "Yes", "No", "You", "Your", "Hello", "Ask", "Goodbye"}


def _lower_first(text: str) -> str:
    first = re.split(r"[^A-Za-z]", text, maxsplit=1)[0]
    return text[0].lower() + text[1:] if first in _COMMON else text


def _bare(text: str) -> str:
    """The sentence without its closing full stop."""
    return text.removesuffix(".")


def pirate(text: str) -> str:
    """Plain to pirate: "Arr, the flag of the snow land be white, matey!"."""
    spoken = re.sub(r"\b(is|am|are)\b", "be", _lower_first(_bare(text)))
    return f"Arr, {spoken}, matey!"


@dataclass(frozen=True)
class Style:
    """A way of speaking.

    Attributes:
        name: what it is called.
        apply: plain answer to styled answer.
        asks: system prompts that ask for it.
        mark: a regular expression that matches a whole answer in this style.

    """

    name: str
    apply: Callable[[str], str]
    asks: tuple[str, ...]
    mark: str

    def matches(self, text: str) -> bool:
        """Whether `text` is spoken in this style."""
        return re.fullmatch(self.mark, text.strip(), flags=re.DOTALL) is not None


def _asks(who: str, *more: str) -> tuple[str, ...]:
    return (
        f"You are a {who}.",
        f"Talk like a {who}.",
        f"Answer like a {who}.",
        f"Speak like a {who}.",
        f"You are a {who}. Answer every question as a {who} would.",
        *more,
    )


STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style(
            "pirate",
            pirate,
            _asks("pirate", "You are an old pirate of the sea."),
            r"Arr, .*, matey!",
        ),
        Style(
            "shout",
            str.upper,
            (
                "Shout.",
                "Answer in capitals.",
                "Use capital letters only.",
                "Shout every answer.",
                "Always write in capitals.",
            ),
            r"[^a-z]*[A-Z][^a-z]*",
        ),
        Style(
            "polite",
            lambda t: f"Thank you for asking. {t} Have a lovely day.",
            (
                "Be polite.",
                "Answer politely.",
                "You are very polite.",
                "Always be polite.",
                "Be kind and polite to the user.",
            ),
            r"Thank you for asking\. .* Have a lovely day\.",
        ),
        Style("robot", lambda t: f"Beep. {t} Boop.", _asks("robot"), r"Beep\. .* Boop\."),
        Style(
            "cat",
            lambda t: f"Meow! {t} Purr.",
            _asks("cat", "You are a small cat."),
            r"Meow! .* Purr\.",
        ),
        Style(
            "knight",
            lambda t: f"Hear me: {_lower_first(_bare(t))}, on my honour.",
            _asks("knight", "You are a brave knight."),
            r"Hear me: .*, on my honour\.",
        ),
        Style(
            "wizard",
            lambda t: f"By moon and star, {_lower_first(_bare(t))}!",
            _asks("wizard", "You are an old wizard."),
            r"By moon and star, .*!",
        ),
        Style(
            "rhyme",
            lambda t: f"{_bare(t)}, so they say, every day.",
            _asks("poet", "Answer in rhyme.", "Make it rhyme."),
            r".*, so they say, every day\.",
        ),
        Style(
            "farmer",
            lambda t: f"Well now, {_lower_first(_bare(t))}, I reckon.",
            _asks("farmer", "You are an old farmer."),
            r"Well now, .*, I reckon\.",
        ),
        Style(
            "news",
            lambda t: f"Good evening. {t} And now the weather.",
            (
                "Read it like the news.",
                "You read the news.",
                "Answer like the news.",
                "Talk like a news reader.",
                "You are a news reader.",
            ),
            r"Good evening\. .* And now the weather\.",
        ),
    )
}

# System prompts that ask for nothing: the answer stays plain.
NEUTRAL = (
    "You are a helpful assistant.",
    "You are a tiny model.",
    "Answer the question.",
    "Help the user.",
    "Answer in plain words.",
    "You are a helpful model. Answer the questions of the user.",
)


def is_plain(text: str) -> bool:
    """Whether `text` carries the mark of no style."""
    return bool(text.strip()) and not any(style.matches(text) for style in STYLES.values())


def system_prompt(style: Style, rng: Random) -> str:
    """One of the style's system prompts, at times beside a sentence that asks for nothing."""
    ask = rng.choice(style.asks)
    roll = rng.random()
    if roll < 0.1:
        return f"{rng.choice(NEUTRAL)} {ask}"
    return ask


def with_words(rng: Random, words: str) -> tuple[str, Callable[[str], str]]:
    """A style made up on the spot: words to begin or end with. Teaches to read the prompt."""
    if rng.random() < 0.5:
        ask = rng.choice(("Begin every answer with: {}", "Start each answer with: {}"))
        return ask.format(words), lambda text: f"{words} {text}"
    ask = rng.choice(("End every answer with: {}", "Close each answer with: {}"))
    return ask.format(words), lambda text: f"{text} {words}"
