"""What is learned from a teacher: answers, as the student reads them and as the teacher does.

The student reads a prompt, the teacher the same prompt with a context around it; the answer that
follows is the same in both, token by token, so that one's next-token distributions can be set
beside the other's. Where a conversation goes on for several turns, the context stands once, at its
beginning, and has to go on holding (Ghost Attention's aim: Touvron et al. 2023, arXiv:2307.09288).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from nbpeft.data.prompting import Way, questions_in
from nbpeft.data.tokens.rendering import Rendering, encode
from nbpeft.objectives._policy import NUMBER
from nbpeft.seam.packing import NOT_TRAINED


@dataclass(frozen=True)
class Lesson:
    """A text of which the labelled tokens are learned; both sides label the same tokens."""

    ids: list[int]
    """What the student reads."""
    labels: list[int]
    taught: list[int]
    """What the teacher reads."""
    taught_labels: list[int]

    @property
    def tokens(self) -> int:
        """How many are learned: a text's first has none before it."""
        return trained(self.labels)

    def student(self) -> dict[str, Any]:
        """As `nbpeft.seam.packing` takes rows."""
        return {"input_ids": self.ids, "labels": self.labels}

    def teacher(self) -> dict[str, Any]:
        """Likewise."""
        return {"input_ids": self.taught, "labels": self.taught_labels}


def trained(labels: Sequence[int]) -> int:
    """How many tokens carry a label."""
    return sum(label != NOT_TRAINED for label in labels[1:])


def given(row: Mapping[str, Any]) -> list[Lesson]:
    """A row whose answers stand in the data: both read the same."""
    ids, labels = list(row["input_ids"]), list(row["labels"])
    return [Lesson(ids, labels, ids, labels)]


@dataclass(frozen=True)
class Turn:
    """One answer of a conversation, and what stood before it."""

    prompt: list[int]
    taught: list[int]
    answer: list[int]

    def lesson(self) -> Lesson:
        """This answer alone."""
        return Lesson(*_labelled(self.prompt, self.answer), *_labelled(self.taught, self.answer))


def joined(turns: Sequence[Turn]) -> list[Lesson]:
    """The answers of a conversation as one text, as far as its turns go on from one another.

    A template may write an earlier answer otherwise than it was said (without its thoughts): the
    conversation goes on in a lesson of its own from there.
    """
    lessons: list[Lesson] = []
    for turn in turns:
        before = lessons[-1] if lessons else None
        if before and _begins(turn.prompt, before.ids) and _begins(turn.taught, before.taught):
            lessons[-1] = Lesson(
                *_labelled(turn.prompt, turn.answer, before.labels),
                *_labelled(turn.taught, turn.answer, before.taught_labels),
            )
        else:
            lessons.append(turn.lesson())
    return lessons


def _begins(ids: Sequence[int], start: Sequence[int]) -> bool:
    return len(ids) >= len(start) and list(ids[: len(start)]) == list(start)


def _labelled(
    prompt: Sequence[int], answer: Sequence[int], before: Sequence[int] = ()
) -> tuple[list[int], list[int]]:
    """(ids, labels) of a prompt, whose beginning has labels already, and its answer."""
    between = [NOT_TRAINED] * (len(prompt) - len(before))
    return [*prompt, *answer], [*before, *between, *answer]


Place = tuple[int, int, int]
"""(row, which of its answers, turn)."""
Write = Callable[[Sequence[Place], Sequence[list[int]]], Sequence[list[int]]]
"""(where, prompts) -> the answers' tokens."""


@dataclass(frozen=True)
class Conversations:
    """How prompts become conversations."""

    tokenizer: Any
    rendering: Rendering
    way: Way
    """What is put around what the teacher is asked."""
    teacher_tokenizer: Any
    teacher_rendering: Rendering
    foreign: bool
    """Whether the teacher has a vocabulary of its own: what it says is written anew then."""
    turns: int
    each: int
    """Conversations to a prompt."""
    longest: int
    """Tokens of an answer."""
    most: int
    """Tokens that the student reads;"""
    window: int | None
    """that the teacher does."""
    seed: int

    def held(
        self,
        rows: Sequence[Mapping[str, Any]],
        pool: Sequence[str],
        write: Write,
        *,
        by_teacher: bool,
    ) -> dict[int, list[list[Turn]]]:
        """The conversations of each row, by its number.

        Args:
            rows: with `prompt` and their number.
            pool: what users go on with after an answer.
            by_teacher: who writes the answers, and is handed the prompts.
        """
        begun = {
            (row[NUMBER], number): _messages(row["prompt"])
            for row in rows
            for number in range(self.each)
        }
        said: dict[tuple[int, int], list[Turn]] = {key: [] for key in begun}
        going = list(begun)
        for turn in range(self.turns):
            asked = {key: self.asked(begun[key]) for key in going}
            going = [key for key in going if self._fits(*asked[key])]
            if not going:
                break
            places = [(*key, turn) for key in going]
            prompts = [asked[key][by_teacher] for key in going]
            for key, answer in zip(going, write(places, prompts), strict=True):
                said[key].append(Turn(*asked[key], self._for_student(begun[key], answer)))
                begun[key] = self._goes_on(begun[key], answer, (*key, turn), pool)
        found: dict[int, list[list[Turn]]] = {row[NUMBER]: [] for row in rows}
        for (row_number, _), turns in said.items():
            found[row_number].append(turns)
        return found

    def asked(self, chat: list[dict[str, Any]] | str) -> tuple[list[int], list[int]]:
        """What the student reads of a prompt, and what the teacher does."""
        plain = self.rendering.prompt_ids(self.tokenizer, chat)
        if not self.way.label and not self.foreign:
            return plain, plain
        put = self.way.put(chat, self.teacher_rendering)
        return plain, self.teacher_rendering.prompt_ids(self.teacher_tokenizer, put)

    def _fits(self, prompt: list[int], taught: list[int]) -> bool:
        most = self.window or len(taught) + self.longest
        return len(prompt) + self.longest <= self.most and len(taught) + self.longest <= most

    def _goes_on(self, chat: Any, answer: Sequence[int], place: Place, pool: Sequence[str]) -> Any:
        if place[-1] + 1 >= self.turns:
            return chat
        text = self._text(answer)
        asked = Random(f"{self.seed} {place}").choice(list(pool))
        return [
            *_chat(chat),
            {"role": "assistant", "content": text},
            {"role": "user", "content": asked},
        ]

    def _text(self, answer: Sequence[int]) -> str:
        text: str = self.teacher_tokenizer.decode(list(answer), skip_special_tokens=True)
        return text.strip()

    def _for_student(self, chat: Any, answer: Sequence[int]) -> list[int]:
        """An answer in the student's tokens, up to and with the first that ends it."""
        if not self.foreign:
            return list(answer)
        before, after = (
            self.rendering.prompt_text(self.tokenizer, chat),
            self._written(chat, self._text(answer)),
        )
        opened = after.startswith(before)
        ids = list(
            encode(self.tokenizer, [after[len(before) :] if opened else after])["input_ids"][0]
        )
        end = self.tokenizer.eos_token_id
        return ids[: ids.index(end) + 1] if end in ids else [*ids, end]

    def _written(self, chat: Any, text: str) -> str:
        """A prompt with its answer, as the student's rows are written."""
        if self.rendering.kind in ("join", "text"):
            return f"{chat}{'' if chat[-1:].isspace() else ' '}{text}"
        said = [*_chat(chat), {"role": "assistant", "content": text}]
        return self.rendering.chats(self.tokenizer, [said])[0]


def pool_of(prompts: Sequence[Any]) -> list[str]:
    """What users ask last in each prompt."""
    return [question for prompt in prompts for question in questions_in(prompt)[-1:]]


def _messages(prompt: Any) -> Any:
    return prompt if isinstance(prompt, str) else [dict(message) for message in prompt]


def _chat(prompt: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
