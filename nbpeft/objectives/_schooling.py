"""What a teacher has to say in a run: answers to prompts, and targets for their tokens.

What is on disk already isn't asked again; the rest is, some rows at a time, and kept at once, so
that a run that is stopped meanwhile loses nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import window_of
from nbpeft.data.prompting import Way
from nbpeft.errors import RunError
from nbpeft.events import Noted
from nbpeft.objectives._distilling import Taught
from nbpeft.objectives._lessons import Conversations, Lesson, joined, pool_of
from nbpeft.objectives._store import KeptAnswers, KeptTargets, key_of
from nbpeft.objectives._teaching import Writing, start_of
from nbpeft.rendering import count

if TYPE_CHECKING:
    from nbpeft.teaching import Teacher

LINES = 4
"""How often it is said how far the teacher is."""
PART = 32
"""Rows that the teacher is asked about before Stop is looked for."""


@dataclass(frozen=True)
class School:
    """The lessons of a run."""

    trainer: Any
    folder: Path
    """Where what the teacher says is kept."""
    identity: str
    """Of the teacher's weights."""
    way: Way
    turns: int
    longest: int
    """Tokens of an answer."""
    asks: bool
    """Whether rows are prompts."""
    foreign: Teacher | None
    """Who teaches in a vocabulary of its own."""

    def teach(self) -> None:
        """Fill the trainer's `taught`: lessons, and the targets of their tokens.

        Raises:
            RunError: the answers hold nothing to learn, or there is no room on disk.
            KeyboardInterrupt: Stop was asked for.
        """
        trainer = self.trainer
        if self.asks:
            self._converse()
        for split, rows in _splits(trainer).items():
            if split == "train" and trainer.args.on_policy:
                continue
            taught = Taught(self._answered(split, rows) if self.asks else None, rows)
            if not taught.tokens:
                raise RunError(
                    "The teacher's answers hold no token to learn: type a larger "
                    "max_completion_length, or give other prompts."
                )
            if trainer.shape is not None:
                self._fill(split, rows, taught)
            trainer.taught[split] = taught

    def _converse(self) -> None:
        """How prompts become conversations, and how the student writes its part."""
        trainer = self.trainer
        args, tokenizer, teaching = trainer.args, trainer.processing_class, trainer.teaching
        rendering, foreign = trainer.rows.rendering, self.foreign
        trainer.conversations = conversations = Conversations(
            tokenizer=tokenizer,
            rendering=rendering,
            way=self.way.fitting(rendering, tokenizer),
            turns=self.turns,
            each=args.num_generations,
            longest=self.longest,
            most=args.max_length,
            window=window_of(trainer.model),
            seed=args.seed,
            teacher_tokenizer=tokenizer if foreign is None else foreign.tokenizer,
            teacher_rendering=rendering if foreign is None else foreign.rendering,
            foreign=foreign is not None,
        )
        for split, rows in _splits(trainer).items():
            trainer.pools[split] = pool_of(rows["prompt"])
        trainer.writing = Writing(tokenizer, self.longest, args.sampling_temperature, seed=None)
        if self.way.label:
            first = trainer.train_dataset.select(range(min(PART, len(trainer.train_dataset))))
            asked = [conversations.asked(row["prompt"]) for row in first]
            teaching.start = start_of([taught for _, taught in asked])
            teaching.longest += len(teaching.start)
            for side, name in enumerate(("prompt_tokens", "taught_tokens")):
                trainer.told[name] = sum(len(ids[side]) for ids in asked) / len(asked)

    def _answered(self, split: str, rows: Any) -> dict[int, list[Lesson]]:
        """The lessons of each row, from the teacher's answers."""
        trainer = self.trainer
        kept = KeptAnswers(self.folder, split, key_of("answers", self._key(rows)))

        def write(places: Any, prompts: Any) -> list[list[int]]:
            new = [n for n, place in enumerate(places) if place not in kept.found]
            if new:
                asked = [places[n] for n in new], [prompts[n] for n in new]
                kept.add(dict(zip(asked[0], trainer.teaching.write(*asked), strict=True)))
            return [kept.found[place] for place in places]

        lessons: dict[int, list[Lesson]] = {}
        for part in _parts(trainer, rows, "the teacher answers" if not kept.reused else ""):
            held = trainer.conversations.held(part, trainer.pools[split], write, by_teacher=True)
            for number, turns in held.items():
                lessons[number] = [lesson for said in turns for lesson in joined(said)]
        return lessons

    def _fill(self, split: str, rows: Any, taught: Taught) -> None:
        """What the teacher says of each learned token, on disk."""
        trainer = self.trainer
        key = key_of("targets", self._key(rows), trainer.args.temperature, PART)
        kept = KeptTargets(self.folder, split, key, taught.tokens, trainer.shape)
        taught.targets, seen = kept, 0
        for part in _parts(trainer, rows, "the teacher reads" if not kept.done else ""):
            lessons = [lesson for row in part for lesson in taught.of(row)]
            tokens = sum(lesson.tokens for lesson in lessons)
            if lessons and seen + tokens > kept.done:  # parts are written whole
                kept.write(trainer.teaching.summaries(lessons))
            seen += tokens

    def _key(self, rows: Any) -> str:
        """Of all that the lessons of some rows follow from."""
        args, way = self.trainer.args, self.way
        shown = [(shot.prompt, shot.answer) for shot in way.shots]
        return key_of(
            _digest(rows), self.identity, way.system, shown, self.turns, self.longest, args.seed,
            self.asks, args.num_generations, args.sampling_temperature, args.max_length,
        )  # fmt: skip


def _splits(trainer: Any) -> dict[str, Any]:
    """The rows by split; those that are held out last, where there are any."""
    splits = {"train": trainer.train_dataset, "eval": trainer.eval_dataset}
    return {name: rows for name, rows in splits.items() if rows is not None}


def _parts(trainer: Any, rows: Any, doing: str) -> Any:
    """The rows, some at a time; says how far it is, and ends where Stop was asked for."""
    told = max(PART, len(rows) // LINES + 1)
    for start in range(0, len(rows), PART):
        if trainer.stop.asked:
            raise KeyboardInterrupt
        part = [rows[n] for n in range(start, min(start + PART, len(rows)))]
        yield part
        done = start + len(part)
        if doing and len(rows) > 2 * PART and start // told != done // told:
            trainer.events.emit(Noted(f"{doing}: {count(done)} of {count(len(rows))} rows"))


def _digest(rows: Any) -> str:
    """Of rows as they are read."""
    import hashlib

    import numpy as np

    digest = hashlib.sha256()
    for row in rows:
        for name in ("input_ids", "labels"):
            digest.update(np.asarray(row.get(name, ()), dtype=np.int64).tobytes() + b"|")
    return digest.hexdigest()
