"""How well a model knows the invented world: checks of style, and percentages on held-out items.

Held out means: a wording, a pair of style and fact, a name or a phrase that pretraining never saw.
Small talk and sentiment are drawn as in pretraining, so there some items were seen.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from nbpeft.tiny.text import names, skills, styles
from nbpeft.tiny.text.corpus import Message, chat
from nbpeft.tiny.text.skills import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Item = tuple[list[Message], str]
"""Messages up to the user's last turn, and the answer that counts as right."""


def is_pirate(text: str) -> bool:
    """Whether a whole answer is spoken as the embedded pirate speaks: "Arr, …, matey!"."""
    return styles.STYLES["pirate"].matches(text)


def is_polite(text: str) -> bool:
    """Whether a whole answer thanks for the question and closes with a wish."""
    return styles.STYLES["polite"].matches(text)


def is_plain(text: str) -> bool:
    """Whether an answer carries the mark of no style."""
    return styles.is_plain(text)


def is_unknown(text: str) -> bool:
    """Whether an answer says that the model doesn't know."""
    return "i do not know" in text.lower()


def _single(turn: Turn) -> Item:
    return chat([turn])[:-1], turn.answer


def _styled(rng: Random) -> Item:
    """A pair of style and fact that pretraining never saw, under a prompt that it did see."""
    while True:
        style = rng.choice(tuple(styles.STYLES.values()))
        turn = skills.fact(rng)
        if names.held_out(style.name, turn.answer):
            answer = style.apply(turn.answer)
            return chat([turn], rng.choice(style.asks))[:-1], answer


def _follow_up(rng: Random) -> Item:
    """The last of three questions in one chat."""
    turns = [skills.fact(rng), skills.reading(rng), skills.fact(rng, kept=True)]
    return chat(turns)[:-1], turns[-1].answer


def _copied(rng: Random) -> Item:
    return _single(skills.copying(rng))


ITEMS: dict[str, Callable[[Random], Item]] = {
    "facts": lambda rng: _single(skills.fact(rng, kept=True)),
    "plain": lambda rng: _single(skills.fact(rng, kept=True)),
    "styles": _styled,
    "unknown": lambda rng: _single(skills.unknown(rng, kept=True)),
    "small talk": lambda rng: _single(skills.small_talk(rng, kept=True)),
    "chat": _follow_up,
    "copying": _copied,
    "reading": lambda rng: _single(skills.reading(rng)),
    "one word": lambda rng: _single(skills.one_word(rng, kept=True)),
    "sentiment": lambda rng: _single(skills.sentiment(rng)),
}
MEANING: dict[str, str] = {
    "facts": "facts of the world, asked in held-out wordings: the exact answer",
    "plain": "the same, spoken in no style when no system prompt asks for one",
    "styles": "style and fact both right under a system prompt, in held-out pairs",
    "unknown": 'says "I do not know" of things outside the world',
    "small talk": "greetings and questions about itself: the exact answer",
    "chat": "the third question of a chat: the exact answer",
    "copying": "repeats a random phrase letter by letter",
    "reading": "answers from a passage about invented people",
    "one word": "a fact in one word when asked so, in held-out questions",
    "sentiment": "positive or negative",
}


def items(skill: str, count: int, seed: int = 7) -> list[Item]:
    """`count` held-out items of a skill (a key of `MEANING`), the same for the same seed."""
    rng = Random(f"{skill} {seed}")
    return [ITEMS[skill](rng) for _ in range(count)]


def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    chats: list[list[Message]],
    max_new_tokens: int = 64,
    batch_size: int = 100,
) -> list[str]:
    """The model's greedy answer to each chat; leaves the model's mode as it was.

    Args:
        model: a causal language model, of the package or any other.
        tokenizer: its tokenizer, with a chat template.
        chats: each a list of messages that ends with the user's turn.
        max_new_tokens: where an answer is cut.
        batch_size: chats that are answered together.

    """
    import torch

    training = model.training
    model.eval()
    said: list[str] = []
    try:
        for start in range(0, len(chats), batch_size):
            texts = [
                tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True)
                for c in chats[start : start + batch_size]
            ]
            batch = tokenizer(
                texts,
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,
                return_token_type_ids=False,
            ).to(model.device)
            with torch.no_grad():
                out = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
            new = out[:, batch["input_ids"].shape[1] :]
            said += tokenizer.batch_decode(new, skip_special_tokens=True)
    finally:
        model.train(training)
    return said


def is_right(skill: str, said: str, right: str) -> bool:
    """Whether an answer counts for a skill: exact, but for "plain" and "unknown"."""
    if skill == "plain":
        return is_plain(said)
    if skill == "unknown":
        return is_unknown(said)
    return said.strip() == right.strip()


def scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, count: int = 100
) -> dict[str, float]:
    """Percentage of right answers for each skill (`MEANING` says what is measured).

    Args:
        model: the model that answers.
        tokenizer: its tokenizer.
        count: held-out items for each skill. The model card's figures are with 200.

    """
    result = {}
    for skill in ITEMS:
        asked = items(skill, count)
        said = answers(model, tokenizer, [messages for messages, _ in asked])
        right = sum(
            is_right(skill, text, answer) for text, (_, answer) in zip(said, asked, strict=True)
        )
        result[skill] = round(100 * right / count, 1)
    return result
