"""A larger model, or another adapter, into this one: its next-token distributions are learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.objectives import Objective, Reference, objectives
from nbpeft.objectives._distill_config import setting
from nbpeft.objectives._distilled import MEASURES, Distillation
from nbpeft.objectives._matching import Matching, refuse_unlike
from nbpeft.rendering import count

if TYPE_CHECKING:
    from nbpeft.data import Rows
    from nbpeft.feedback import Surroundings
    from nbpeft.teaching import Teacher


@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation(Distillation):
    """Teacher: another model, or an adapter of this one. Student: the model that is tuned."""

    teacher: Teacher | None = None
    """Once it is bound to a kernel; likewise what follows."""
    parameters: int = 0
    """Of the student, without what is trained beside it;"""
    bytes: int = 0
    """their size."""

    def bound(self, around: Surroundings) -> Objective:
        """With the teacher; RequestError where there is none, or it can't be matched."""
        from nbpeft.teaching import refuse_other_vocabulary, teacher_of
        from nbpeft.teaching.finding import bytes_of

        teacher = teacher_of(around)
        if setting(around.settings, "match"):
            refuse_unlike(around.settings["match"], around.handle.root, teacher.handle.root)
        if setting(around.settings, "loss_type") != "sequence":
            refuse_other_vocabulary(teacher, around.tokenizer)
        return self.knowing(
            around,
            teacher=teacher,
            parameters=around.handle.total_parameters,
            bytes=bytes_of(around.handle.root),
            vocabulary=teacher.vocabulary or 0,
        )

    def quicken(self, trainer: Any, settings: Mapping[str, Any]) -> str:
        """The fastest way; where states are matched, both models read whole padded rows."""
        if not trainer.args.match:
            return super().quicken(trainer, settings)
        from nbpeft.seam.probe import Choice

        trainer.take(Choice("plain"))
        return "rows are padded, and all their states computed: match wants them"

    def accepted(self, rows: Rows, tokenizer: Any) -> Rows:
        """Answers, or prompts; the plan says who teaches."""
        assert self.teacher is not None
        who = f"an adapter of this model, {self.teacher.label or 'base'}"
        if not self.teacher.own:
            who = f"{self.teacher.name}, {count(self.teacher.parameters)} parameters"
        return dataclasses.replace(rows, notes=(*rows.notes, f"the teacher is {who}"))

    @property
    def foreign(self) -> Teacher | None:
        """The teacher, where it has another vocabulary."""
        return self.teacher if self.teacher and self.teacher.vocabulary is None else None

    def answering(self, reference: Reference) -> Any:
        """The teacher; on the student's own weights while what is trained is put aside."""
        assert self.teacher is not None
        return _aside(reference, self.teacher) if self.teacher.own else self.teacher.answering

    def begin(self, trainer: Any, reference: Reference) -> None:
        """Have the teacher say what it has to say; and see how fast it is."""
        super().begin(trainer, reference)
        assert self.teacher is not None
        if trainer.args.match:
            trainer.matching = Matching(
                model=trainer.model,
                answering=trainer.teaching.answering,
                match=trainer.args.match,
                weight=trainer.args.match_weight,
                autocast=trainer.accelerator.autocast,
            )
        with trainer.teaching.answering() as model:
            speed = _speed(trainer, model, trainer.teaching.writing.tokenizer)
        trainer.told["models"] = {
            "teacher": {
                "name": self.teacher.name,
                "parameters": self.teacher.parameters,
                "bytes": self.teacher.bytes,
                "tokens_per_second": speed,
                **_own_loss(trainer),
            }
        }

    def findings(self, trainer: Any) -> Mapping[str, Any]:
        """Both models: how large they are, and how fast they write."""
        found = dict(super().findings(trainer))
        if "models" in found and trainer.state.global_step and not trainer.stop.asked:
            speed = _speed(trainer, trainer.model, trainer.processing_class)
            student = {
                "parameters": self.parameters,
                "bytes": self.bytes,
                "tokens_per_second": speed,
            }
            found["models"] = {**found["models"], "student": student}
        return found


def _aside(reference: Reference, teacher: Teacher) -> Any:
    """The teacher answers on the student's own weights, while what is trained is put aside."""
    import contextlib

    @contextlib.contextmanager
    def answering() -> Any:
        with reference(), teacher.answering() as model:
            yield model

    return answering


ASKED = 4
"""Rows after whose beginnings it is seen how fast a model writes."""
BEGINNING = 16
"""Tokens of each of them."""


def _speed(trainer: Any, model: Any, tokenizer: Any) -> float:
    from nbpeft.objectives._teaching import tokens_per_second

    rows = trainer.train_dataset.select(range(min(ASKED, len(trainer.train_dataset))))
    prompts = [list(ids[:BEGINNING]) for ids in rows["input_ids"]]
    if tokenizer is not trainer.processing_class:  # its ids are other words
        texts = trainer.processing_class.batch_decode(prompts, skip_special_tokens=True)
        found = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        prompts = [ids or [tokenizer.eos_token_id or 0] for ids in found]
    return round(tokens_per_second(model, tokenizer, prompts), 1)


def _own_loss(trainer: Any) -> dict[str, float]:
    """The teacher's loss on the held-out rows' own answers, where rows have answers."""
    held_out = trainer.taught.get("eval")
    if trainer.asks or held_out is None or held_out.targets is None:
        return {}
    return {"loss": held_out.targets.label_loss()}


objectives.add(
    KnowledgeDistillation(
        name="knowledge-distillation",
        summary="the next-token distributions of a teacher: another model, or an adapter",
        paper="Hinton et al. 2015, arXiv:1503.02531",
        gives=frozenset({"causal logits"}),
        unit="",
        defaults={"remove_unused_columns": False, "temperature": 2.0, "hard_label_weight": 0.2},
        aliases={"loss": "loss_type"},
        takes=frozenset({"teacher", "baseline", "outside", "turns"}),
        measures=MEASURES,
    )
)
