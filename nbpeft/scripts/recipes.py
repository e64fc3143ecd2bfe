"""Tokenizing in plain transformers: a short function each, for what TRL would write otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nbpeft.scripts.writing import folded, literal


@dataclass(frozen=True)
class Recipe:
    """The code of a function."""

    code: str


def by_prefixes(
    messages: str,
    first: str,
    before: Sequence[int],
    end: int | None,
    length: int,
    *,
    last: bool,
    every: bool,
    cut: bool,
) -> Recipe:
    """Chats whose answers are what rendering each adds to the chat before it.

    Args:
        messages, first: expressions of a row: its messages, and where its answers begin.
        before: ids that the model wants before a text.
        end: the end token, where the template writes none after the last answer.
        last: whether only the last answer is trained; `every`, the whole chat.
        cut: whether messages come after the last answer, which aren't read.
    """
    lines = [
        "def tokenized(row):",
        '    """A chat as tokens; those of its answers, with their ends, are labels."""',
        f"    messages = {messages}",
    ]
    if cut:
        lines += [
            '    while messages[-1]["role"] != "assistant":',
            "        messages = messages[:-1]",
        ]
    lines += [
        "    text = tokenizer.apply_chat_template(messages, tokenize=False)",
        "    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)",
        "    answers = []",
        f"    for turn in range({first}, len(messages)):",
        '        if messages[turn]["role"] == "assistant":',
        "            asked = tokenizer.apply_chat_template(",
        "                messages[:turn], tokenize=False, add_generation_prompt=True",
        "            )",
        "            told = tokenizer.apply_chat_template(messages[: turn + 1], tokenize=False)",
        "            answers.append((len(asked), len(told)))",
    ]
    if last:
        lines.append("    answers = answers[-1:]")
    lines += [
        '    ids, labels = read["input_ids"], []',
        '    for token, (_, end) in zip(ids, read["offset_mapping"], strict=True):',
        "        answered = any(start < end <= stop for start, stop in answers)",
        f"        labels.append(token if {'True' if every else 'answered'} else -100)",
    ]
    if every:
        lines = _without_answers(lines)
    ids, labels = "ids", "labels"
    if before:
        ids, labels = f"{list(before)} + ids", f"{_masks(before)} + labels"
    if end is not None:
        ids, labels = f"{ids} + [{end}]", f"{labels} + [{end}]"
    return _returned(lines, ids, labels, length)


def _without_answers(lines: list[str]) -> list[str]:
    """All of a chat is trained: nothing is to be told apart."""
    start = lines.index("    answers = []")
    return [
        *lines[:start],
        '    ids = labels = read["input_ids"]',
    ]


def joined(
    columns: Mapping[str, str],
    before: Sequence[int],
    ends: Sequence[int],
    length: int,
    *,
    every: bool,
) -> Recipe:
    """A prompt and its completion as one text, of which the completion is trained."""
    masked = "ids[: len(prompt)]" if every else "[-100] * len(prompt)"
    lines = [
        "def tokenized(row):",
        '    """A prompt and its completion as tokens; those of the completion are labels."""',
        f"    asked, said = {columns['prompt']}, {columns['completion']}",
        '    prompt = tokenizer(asked, add_special_tokens=False)["input_ids"]',
        '    ids = tokenizer(asked + said, add_special_tokens=False)["input_ids"]',
        "    if ids[: len(prompt)] != prompt:  # a token would span both",
        '        ids = prompt + tokenizer(said, add_special_tokens=False)["input_ids"]',
        f"    labels = {masked} + ids[len(prompt) :]",
    ]
    return _framed(lines, before, ends, length)


def whole(text: str, before: Sequence[int], ends: Sequence[int], length: int) -> Recipe:
    """Raw text, all of it trained."""
    lines = [
        "def tokenized(row):",
        '    """A text as tokens, all of them labels."""',
        f'    ids = labels = tokenizer({text}, add_special_tokens=False)["input_ids"]',
    ]
    return _framed(lines, before, ends, length)


def classed(columns: Mapping[str, str], labels: Sequence[str], length: int) -> Recipe:
    """A text, and the number of its label."""
    lines = [
        "def tokenized(row):",
        '    """A text as tokens, and the number of its label."""',
        f"    read = tokenizer({columns['text']}, truncation=True, max_length={length})",
        f"    label = LABELS.index(str({columns['label']}))",
        '    return {"input_ids": read["input_ids"], "labels": label}',
    ]
    told = literal(list(labels), 0, len("LABELS = "))
    return Recipe(f"LABELS = {told}\n\n\n" + folded("\n".join(lines)))


def _framed(lines: list[str], before: Sequence[int], ends: Sequence[int], length: int) -> Recipe:
    ids, labels = "ids", "labels"
    if before:
        ids, labels = f"{list(before)} + ids", f"{_masks(before)} + labels"
    if ends:
        ids, labels = f"{ids} + {list(ends)}", f"{labels} + {list(ends)}"
    return _returned(lines, ids, labels, length)


def _masks(before: Sequence[int]) -> list[int]:
    return [-100] * len(before)


def _returned(lines: list[str], ids: str, labels: str, length: int) -> Recipe:
    def cut(value: str) -> str:
        return f"({value})[:{length}]" if "+" in value else f"{value}[:{length}]"

    lines = [*lines, f'    return {{"input_ids": {cut(ids)}, "labels": {cut(labels)}}}']
    return Recipe(folded("\n".join(lines)))


def blocks(texts: str, before: Sequence[int], ends: Sequence[int], length: int) -> Recipe:
    """Texts joined, and cut into blocks of one length."""
    ids = 'tokenizer(text, add_special_tokens=False)["input_ids"]'
    around = (str(list(before)) if before else "", ids, str(list(ends)) if ends else "")
    framed = " + ".join(part for part in around if part)
    lines = [
        "def blocks(rows):",
        f'    """Texts joined, and cut into blocks of {length:,} tokens."""',
        "    joined = []",
        f"    for text in {texts}:",
        f"        joined += {framed}",
        f"    cut = [joined[i : i + {length}] for i in range(0, len(joined), {length})]",
        "    cut = [block for block in cut if len(block) > 1]",
        '    return {"input_ids": cut, "labels": [[-100, *block[1:]] for block in cut]}',
    ]
    return Recipe(folded("\n".join(lines)))
