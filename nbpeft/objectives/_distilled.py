"""What context and knowledge distillation have in common: lessons, targets, and what is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import window_of
from nbpeft.data.prompting import PLAIN, Way
from nbpeft.errors import RequestError, RunError
from nbpeft.events import Noted
from nbpeft.objectives import Measure, Objective, Reference, Shown
from nbpeft.objectives._distill_config import asks, distill_config, kept_of, setting
from nbpeft.objectives._lessons import Conversations, Lesson, joined, pool_of
from nbpeft.objectives._policy import OfPolicy
from nbpeft.objectives._rl_config import longest_answer
from nbpeft.objectives._rollouts import Prompts
from nbpeft.objectives._store import FOLDER, KeptAnswers, KeptTargets, Shape, key_of
from nbpeft.rendering import bytes_size, count, nats
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from nbpeft.data import Rows
    from nbpeft.data.signals import Signal
    from nbpeft.feedback import Surroundings
    from nbpeft.objectives._teaching import Teaching

MEASURES = (
    Measure("kl", "KL to the teacher"),
    Measure("nll", "loss on the answers"),
)
LINES = 4
"""How often it is said how far the teacher is."""
PART = 32
"""Rows that the teacher is asked about before Stop is looked for."""
KEPT_ROWS = 64
"""Rows of what is to stay that are read."""


@dataclass(frozen=True, kw_only=True)
class Distillation(OfPolicy):
    """The seam of both; once it is bound to a kernel it knows its teacher."""

    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the trainer's config that were set."""
    longest: int = 0
    """Tokens of an answer."""
    vocabulary: int = 0
    """Tokens that teacher and student have in common, by their ids."""
    folder: Path | None = None
    """Where what the teacher says is kept."""
    identity: str = ""
    """Of the teacher and what it is asked with."""
    kept: Rows | None = None
    """Rows of what is to stay as it was."""
    turns: int = 1

    @property
    def way(self) -> Way:
        """What is put around what the teacher is asked."""
        return PLAIN

    @property
    def asks(self) -> bool:
        """Whether rows are prompts, that are answered in the run."""
        return asks(self.settings)

    @property
    def shape(self) -> Shape | None:
        """What is kept of a distribution; None where the teacher's text is all that is learned."""
        if setting(self.settings, "loss_type") == "sequence":
            return None
        return Shape(kept_of(self.settings), self.vocabulary)

    def knowing(self, around: Surroundings, **more: Any) -> Objective:
        """Bound to what the request names of the kernel; `more` are its own fields of an entry."""
        settings = around.settings
        asking = asks(settings) or "context" in self.takes
        sequence = setting(settings, "loss_type") == "sequence"
        turns = 1 if around.request.turns is None else around.request.turns
        if turns < 1:
            raise RequestError(f"turns must be 1 or more, not {turns}.")
        return dataclasses.replace(
            self,
            settings=settings,
            turns=turns,
            longest=longest_answer(settings) if asking else 0,
            folder=around.session.shelf.folder / around.request.name / FOLDER,
            kept=_kept_rows(around),
            measures=tuple(m for m in self.measures if m.key != "kl" or not sequence),
            **more,
        )

    def config_class(self) -> type[Any]:
        """What may be set."""
        return distill_config()

    def trainer_class(self) -> type[Any]:
        """The Trainer of transformers over rows as they are, which become lessons in its steps."""
        from nbpeft.objectives._distilling import Distilling
        from nbpeft.objectives._divergences import divergence
        from nbpeft.objectives._measuring import measuring

        shape, kind = self.shape, setting(self.settings, "loss_type")
        how = {name: setting(self.settings, name) for name in ("beta", "temperature")}
        if shape is None:
            chosen, forward = _labels_alone, None
        else:
            hard = setting(self.settings, "hard_label_weight")
            chosen = divergence(kind, hard=hard, **how)
            forward = None if kind == "kl" else _beside(chosen, divergence("kl", hard=0.0, **how))
        told = {
            "divergence": staticmethod(chosen),
            "forward": forward and staticmethod(forward),
            "shape": shape,
            "longest_answer": self.longest,
            "asks": self.asks,
        }
        return measuring(type("DistillingTrainer", (Distilling,), told))

    def reading(self, loss_on: LossOn) -> Signal:
        """Prompts that leave room for their answers, or answers."""
        from nbpeft.data.signals import Prompts as Asked

        return Asked(max_new_tokens=self.longest) if self.asks else super().reading(loss_on)

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Rows as they are."""
        return Prompts()

    def begin(self, trainer: Any, reference: Reference) -> None:
        """Have the teacher say what it has to say, as far as that isn't known."""
        from nbpeft.objectives._teaching import kept_as_is

        super().begin(trainer, reference)
        with kept_as_is():
            self._teach(trainer, reference)
        trainer.outside = self._outside(trainer)
        trainer.outside_before = _loss_on(trainer, trainer.outside)

    def findings(self, trainer: Any) -> Mapping[str, Any]:
        """What the teacher's part came to, and what became of what wasn't learned."""
        if trainer.teaching is None:
            return {}
        found = {**trainer.told, "trained_tokens": trainer.tokens_seen}
        if trainer.outside and trainer.state.global_step:
            found["outside"] = [trainer.outside_before, _loss_on(trainer, trainer.outside)]
            found["outside_rows"] = "prompts" if self.kept is None else "kept"
        return found

    def shown(self, findings: Mapping[str, Any], title: str) -> Shown:
        """Both, in the closing table."""
        rows = []
        if "outside" in findings:
            before, after = findings["outside"]
            what = {"prompts": "the prompts' own text", "kept": "the rows to keep"}
            where = what[findings["outside_rows"]]
            rows.append(("outside", f"{nats(before)} → {nats(after)} nats a token on {where}"))
        if "bytes" in findings:
            rows.append(("teacher's targets", _told(findings)))
        return Shown(tuple(rows))

    def _teach(self, trainer: Any, reference: Reference) -> None:
        from nbpeft.objectives._distilling import Taught

        teaching = self._teaching(trainer, reference)
        trainer.teaching, trainer.told = teaching, {}
        if self.asks:
            self._converse(trainer, teaching)
        for split, rows in _splits(trainer).items():
            if split == "train" and trainer.args.on_policy:
                continue
            lessons = self._answered(trainer, split, rows) if self.asks else None
            taught = Taught(lessons, rows)
            if not taught.tokens:
                raise RunError(
                    "The teacher's answers hold no token to learn: type a larger "
                    "max_completion_length, or give other prompts."
                )
            if trainer.shape is not None:
                self._fill(trainer, split, rows, taught)
            trainer.taught[split] = taught
        self._tell(trainer)

    def _teaching(self, trainer: Any, reference: Reference) -> Teaching:
        """Who teaches."""
        raise NotImplementedError

    def _converse(self, trainer: Any, teaching: Teaching) -> None:
        """How prompts become conversations, and how the student writes its part."""
        from nbpeft.objectives._teaching import Writing, start_of

        args, tokenizer = trainer.args, trainer.processing_class
        rendering = trainer.rows.rendering
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
            **self._asked_as(trainer),
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

    def _asked_as(self, trainer: Any) -> dict[str, Any]:
        """How the teacher is asked: as the student is."""
        return {
            "teacher_tokenizer": trainer.processing_class,
            "teacher_rendering": trainer.rows.rendering,
            "foreign": False,
        }

    def _answered(self, trainer: Any, split: str, rows: Any) -> dict[int, list[Lesson]]:
        """The lessons of each row, from the teacher's answers."""
        args, teaching = trainer.args, trainer.teaching
        wanted = (
            "answers", _digest(rows), self.identity, self.turns, self.longest, args.seed,
            args.num_generations, args.sampling_temperature, args.max_length,
        )  # fmt: skip
        assert self.folder is not None
        kept = KeptAnswers(self.folder, split, key_of(*wanted))

        def write(places: Any, prompts: Any) -> list[list[int]]:
            new = [n for n, place in enumerate(places) if place not in kept.found]
            if new:
                asked = [places[n] for n in new], [prompts[n] for n in new]
                kept.add(dict(zip(asked[0], teaching.write(*asked), strict=True)))
            return [kept.found[place] for place in places]

        lessons: dict[int, list[Lesson]] = {}
        for part in _parts(trainer, rows, "the teacher answers" if not kept.reused else ""):
            held = trainer.conversations.held(part, trainer.pools[split], write, by_teacher=True)
            for number, turns in held.items():
                lessons[number] = [lesson for said in turns for lesson in joined(said)]
        trainer.told["answers_reused"] = bool(kept.reused)
        return lessons

    def _fill(self, trainer: Any, split: str, rows: Any, taught: Any) -> None:
        """What the teacher says of each learned token, on disk."""
        wanted = ("targets", self._lessons_key(trainer, rows), trainer.args.temperature)
        assert self.folder is not None
        taught.targets = kept = KeptTargets(
            self.folder, split, key_of(*wanted), taught.tokens, trainer.shape
        )
        seen = 0
        for part in _parts(trainer, rows, "the teacher reads" if not kept.done else ""):
            lessons = [lesson for row in part for lesson in taught.of(row)]
            tokens = sum(lesson.tokens for lesson in lessons)
            if lessons and seen + tokens > kept.done:  # parts are written whole
                kept.write(trainer.teaching.summaries(lessons))
            seen += tokens

    def _lessons_key(self, trainer: Any, rows: Any) -> str:
        args = trainer.args
        return key_of(
            _digest(rows), self.identity, self.turns, self.longest, args.seed,
            args.num_generations, args.sampling_temperature, args.max_length, self.asks,
        )  # fmt: skip

    def _tell(self, trainer: Any) -> None:
        """What was kept, and what that spares."""
        told, teaching = trainer.told, trainer.teaching
        kept = [taught.targets for taught in trainer.taught.values() if taught.targets]
        if not kept:
            return
        told["bytes"] = sum(targets.bytes for targets in kept)
        told["tokens"] = sum(targets.done for targets in kept)
        told["full_bytes"] = told["tokens"] * Shape(None, self.vocabulary).bytes
        told["kept"] = kept[0].shape.top
        told["vocabulary"] = self.vocabulary
        told["reused"] = all(targets.reused == targets.done for targets in kept)
        told["seconds"] = round(teaching.seconds, 3)
        told["read"], told["spared"] = teaching.tokens, teaching.spared
        trainer.events.emit(Noted(f"teacher's targets: {_told(told)}"))

    def _outside(self, trainer: Any) -> list[dict[str, Any]]:
        """What isn't learned, and whose loss is told: the rows to keep, or prompts' own text."""
        if self.kept is not None:
            rows = self.kept.train
            few = rows.select(range(min(KEPT_ROWS, len(rows))))
            return [{k: list(row[k]) for k in ("input_ids", "labels")} for row in few]
        if not self.asks:
            return []
        rows = list(_splits(trainer).values())[-1]
        few = rows.select(range(min(KEPT_ROWS, len(rows))))
        return [
            {"input_ids": list(ids), "labels": [-100, *ids[1:]]}
            for ids in few["input_ids"]
            if len(ids) > 1
        ]


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


def _told(told: Mapping[str, Any]) -> str:
    """How much is kept of the teacher's distributions, in a line."""
    kept = told["kept"]
    size = bytes_size(told["bytes"])
    if kept is not None:
        size = f"{size} for the likeliest {kept} of {count(told['vocabulary'])} tokens and the rest"
        size += f" (all: {bytes_size(told['full_bytes'])})"
    if told["reused"]:
        return f"{size}, made before"
    if told["spared"]:
        whole = told["read"] + told["spared"]
        size += f"; {count(told['read'])} of {count(whole)} tokens read, the context once"
    return f"{size}, made once for all epochs"


def _labels_alone(logits: Any, labels: Any) -> Any:
    """The loss on the teacher's text (tokens, 2), the second without a gradient."""
    import torch

    loss = -torch.log_softmax(logits, -1).gather(-1, labels.unsqueeze(-1))
    return torch.cat([loss, loss.detach()], -1)


def _beside(chosen: Any, forward: Any) -> Any:
    """A loss with the forward KL beside it, whatever it is itself."""

    def both(*given: Any) -> Any:
        values = chosen(*given).clone()
        values[:, 1] = forward(*given)[:, 1]
        return values

    return both


def _digest(rows: Any) -> str:
    """Of rows as they are read."""
    import hashlib

    import numpy as np

    digest = hashlib.sha256()
    for row in rows:
        for name in ("input_ids", "labels"):
            digest.update(np.asarray(row.get(name, ()), dtype=np.int64).tobytes() + b"|")
    return digest.hexdigest()


def _kept_rows(around: Surroundings) -> Rows | None:
    """The rows that `--keep` names."""
    if around.request.keep is None:
        return None
    from nbpeft import data

    return data.tokenize(
        data.read_mix(around.request.keep, around.variables),
        around.tokenizer,
        eval=0,
        max_length=around.settings["max_length"],
    )


def _loss_on(trainer: Any, rows: Sequence[dict[str, Any]]) -> float:
    """The model's mean loss on the labels of some rows, nats a token, as it is now."""
    import torch

    from nbpeft.objectives._rollouts import writing
    from nbpeft.seam.probe import moved

    total, tokens = 0.0, 0
    with writing(trainer.model), torch.no_grad():
        for start in range(0, len(rows), PART):
            batch = moved(trainer.layout(rows[start : start + PART]), trainer.args.device)
            with trainer.scorer.over(batch), trainer.accelerator.autocast():
                scores = trainer.scorer.scores(batch)
            total, tokens = total - float(scores.sum()), tokens + len(scores)
    return total / max(1, tokens)
