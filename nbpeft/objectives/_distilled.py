"""What context and knowledge distillation have in common: lessons, targets, and what is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.data.prompting import PLAIN, Way
from nbpeft.errors import RequestError
from nbpeft.events import Noted
from nbpeft.guard import random_state_kept
from nbpeft.objectives import Measure, Objective, Reference, Shown
from nbpeft.objectives._distill_config import asks, distill_config, kept_of, setting
from nbpeft.objectives._outside import loss_on, outside_rows, rows_outside
from nbpeft.objectives._policy import OfPolicy
from nbpeft.objectives._rl_config import longest_answer
from nbpeft.objectives._rollouts import Prompts
from nbpeft.objectives._store import FOLDER, Shape
from nbpeft.rendering import bytes_size, count, nats
from nbpeft.request import LossOn

if TYPE_CHECKING:
    from nbpeft.data import Rows
    from nbpeft.data.signals import Signal
    from nbpeft.feedback import Surroundings
    from nbpeft.objectives._teaching import Teaching
    from nbpeft.teaching import Teacher

MEASURES = (
    Measure("kl", "KL to the teacher"),
    Measure("nll", "loss on the answers"),
)


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
    kept: Rows | None = None
    """Rows of what is to stay as it was."""
    turns: int = 1

    @property
    def way(self) -> Way:
        """What is put around what the teacher is asked."""
        return PLAIN

    @property
    def foreign(self) -> Teacher | None:
        """Who teaches in a vocabulary of its own; None where it has the student's."""
        return None

    def answering(self, reference: Reference) -> Any:
        """`with …() as model:`, the teacher answers: the policy at the run's start."""
        return reference

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
        known = dataclasses.replace(self, settings=around.settings, **more)
        turns = 1 if around.request.turns is None else around.request.turns
        if turns < 1:
            raise RequestError(f"turns must be 1 or more, not {turns}.")
        return dataclasses.replace(
            known,
            turns=turns,
            longest=longest_answer(around.settings) if known.asks else 0,
            folder=around.session.shelf.folder / around.request.name / FOLDER,
            kept=rows_outside(around),
            measures=tuple(m for m in self.measures if m.key != "kl" or known.shape),
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

        if not self.asks:
            return super().reading(loss_on)
        measured = self.measures[0].name if self.measures else "loss"
        return Asked(max_new_tokens=self.longest, measured=measured)

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Rows as they are."""
        return Prompts()

    def begin(self, trainer: Any, reference: Reference) -> None:
        """Have the teacher say what it has to say, as far as that isn't known."""
        super().begin(trainer, reference)
        with random_state_kept():
            self._teach(trainer, reference)
        trainer.outside = outside_rows(trainer, self.kept)
        trainer.outside_before = loss_on(trainer, trainer.outside)

    def findings(self, trainer: Any) -> Mapping[str, Any]:
        """What the teacher's part came to, and what became of what wasn't learned."""
        if trainer.teaching is None:
            return {}
        found = {**trainer.told, "trained_tokens": trainer.tokens_seen}
        if trainer.outside and trainer.state.global_step:
            found["outside"] = [trainer.outside_before, loss_on(trainer, trainer.outside)]
            found["outside_rows"] = "prompts" if self.kept is None else "kept"
        return found

    def shown(self, findings: Mapping[str, Any], title: str) -> Shown:
        """Both, in the closing table."""
        rows = []
        if "outside" in findings:
            before, after = findings["outside"]
            what = {"prompts": "the prompts' own text", "kept": "the rows named"}
            where = what[findings["outside_rows"]]
            rows.append(("outside", f"{nats(before)} → {nats(after)} nats a token on {where}"))
        if "bytes" in findings:
            rows.append(("teacher's targets", _told(findings)))
        return Shown(tuple(rows))

    def _teach(self, trainer: Any, reference: Reference) -> None:
        from nbpeft.objectives._schooling import School
        from nbpeft.session.fingerprint import values_of

        trainer.teaching, trainer.told = self._teaching(trainer, reference), {}
        assert self.folder is not None
        with trainer.teaching.answering() as model:
            # By what it is, and not by its name: a teacher may have been trained meanwhile.
            identity = values_of(model.parameters())
        School(
            trainer, self.folder, identity, self.way, self.turns, self.longest, self.asks,
            self.foreign,
        ).teach()  # fmt: skip
        self._tell(trainer)

    def _teaching(self, trainer: Any, reference: Reference) -> Teaching:
        from nbpeft.objectives._divergences import summary
        from nbpeft.objectives._teaching import Teaching, Writing

        args, foreign = trainer.args, self.foreign
        tokenizer = trainer.processing_class if foreign is None else foreign.tokenizer
        return Teaching(
            answering=self.answering(reference),
            writing=Writing(tokenizer, self.longest, args.sampling_temperature, args.seed),
            autocast=trainer.accelerator.autocast,
            summary=self.shape and summary(self.shape.top, args.temperature, self.vocabulary),
            longest=args.max_length,
        )

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
