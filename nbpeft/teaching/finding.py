"""From what is typed after `--teacher` to who teaches: another model, or an adapter of this one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import architecture_of
from nbpeft.data import Rendering, default_rendering
from nbpeft.errors import RequestError, did_you_mean, listed, quoted
from nbpeft.feedback import Surroundings
from nbpeft.feedback.finding import adapter_of
from nbpeft.rendering import count
from nbpeft.session.models import Handle, models_in, root_of
from nbpeft.session.session import BASE_WORDS
from nbpeft.session.tokenizers import fits, outputs_of, tokenizer_of
from nbpeft.teaching.loading import is_address, loaded

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.session.record import Record


@dataclass(frozen=True)
class Teacher:
    """Who is learned from."""

    name: str
    """As it was typed."""
    handle: Handle
    label: str | None
    """The adapter that answers; None is the base."""
    tokenizer: Any
    rendering: Rendering
    """How it is asked."""
    own: bool
    """Whether it stands on the student's own weights."""
    vocabulary: int | None
    """Tokens that it has in common with the student, by their ids; None for other vocabularies."""
    model: Any = None
    """What was loaded for it, and goes with it."""

    @property
    def parameters(self) -> int:
        """How many values it has."""
        return self.handle.total_parameters

    @property
    def bytes(self) -> int:
        """Of its weights, as they are saved; shared ones count once."""
        return bytes_of(self.handle.root)

    def answering(self) -> AbstractContextManager[nn.Module]:
        """Inside, the model answers as the teacher, in eval mode."""
        return self.handle.answering_as(self.label)


def teacher_of(around: Surroundings) -> Teacher:
    """The teacher that the request names.

    Raises:
        RequestError: there is none of that name, it is the student itself, or it can't teach.
        ModelError: it can't be loaded.
    """
    live, name = around.live.get("teacher"), around.request.teacher
    if live is None and not name:
        raise RequestError(
            "knowledge-distillation needs a teacher: type --teacher NAME, with another model's "
            "variable, a path, hub:owner/name, or an adapter of this model."
        )
    name = name or "teacher"
    value = around.variables.get(name) if live is None else live
    if live is not None or name in models_in(around.variables):
        return _another(around, name, value)
    if name in BASE_WORDS:
        return _base(around, name)
    record = adapter_of(around, name)
    if record is not None:
        return _own(around, name, record)
    if value is not None:
        raise RequestError(
            f"The teacher {quoted(name)} is no model but a {type(value).__name__}: type --teacher "
            "with a model's variable, a path, hub:owner/name, or an adapter of this model."
        )
    if is_address(name):
        model, tokenizer = loaded(name, next(around.handle.root.parameters()).device)
        return _another(around, name, model, tokenizer)
    raise _nobody(around, name)


def refuse_other_vocabulary(teacher: Teacher, tokenizer: Any) -> None:
    """Refuse to match next-token probabilities over other tokens; RequestError.

    Args:
        tokenizer: the student's.
    """
    if teacher.vocabulary is not None:
        return
    own = len(teacher.tokenizer) if teacher.tokenizer else outputs_of(teacher.handle.root)
    raise RequestError(
        f"{teacher.name} has another vocabulary ({count(own)} tokens) than the student "
        f"({count(len(tokenizer))}): their next-token probabilities can't be matched. Type --loss "
        "sequence, where the teacher writes and the student learns its text; or align them with "
        "TRL's GOLD (trl.experimental.gold)."
    )


def bytes_of(root: nn.Module) -> int:
    """Of a model's weights; shared ones count once."""
    return sum(p.numel() * p.element_size() for p in root.parameters())


def _another(around: Surroundings, name: str, value: Any, tokenizer: Any = None) -> Teacher:
    """A model of its own."""
    root: Any = root_of(value)
    if root is around.handle.root:
        raise _itself(name)
    if architecture_of(root) != "decoder":
        raise RequestError(
            f"The teacher {name} is a {type(root).__name__}, which doesn't write on from a text: "
            "a model loaded with AutoModelForCausalLM.from_pretrained is wanted."
        )
    if any(p.is_meta for p in root.parameters()):
        raise RequestError(
            f"Some of the weights of the teacher {name} are on the meta device (offloaded): load "
            "it without offloading."
        )
    handle = around.session.handle(value)
    tokenizer = tokenizer or _tokenizer(around, root)
    return Teacher(
        name=name,
        handle=handle,
        label=handle.attached,
        tokenizer=tokenizer,
        rendering=default_rendering(tokenizer or around.tokenizer),
        own=False,
        vocabulary=_common(around, root, tokenizer),
        model=value,
    )


def _own(around: Surroundings, name: str, record: Record) -> Teacher:
    """An adapter on the student's weights."""
    start = around.request.from_
    if start and around.session.record(around.handle, start).label == record.label:
        raise _itself(name)
    kept = record.data.get("rendering")
    return Teacher(
        name=name,
        handle=around.handle,
        label=record.label,
        tokenizer=around.tokenizer,
        rendering=Rendering.from_dict(kept) if kept else default_rendering(around.tokenizer),
        own=True,
        vocabulary=outputs_of(around.handle.root),
    )


def _base(around: Surroundings, name: str) -> Teacher:
    """The student's own base, which an adapter may be brought back to."""
    if not around.request.from_:
        raise _itself(name)
    return Teacher(
        name=name,
        handle=around.handle,
        label=None,
        tokenizer=around.tokenizer,
        rendering=default_rendering(around.tokenizer),
        own=True,
        vocabulary=outputs_of(around.handle.root),
    )


def _itself(name: str) -> RequestError:
    return RequestError(
        f"{name} is both teacher and student: there would be nothing to learn. Give another "
        "--teacher (a model, or an adapter), or a context: %%distill NAME --prompts X with the "
        "text below."
    )


def _tokenizer(around: Surroundings, root: Any) -> Any:
    """The teacher's, from the kernel, or from the folder that it was loaded from; None."""
    found = tokenizer_of(root, around.variables, [around.tokenizer], padded=True)
    if found is None and is_address(root.name_or_path):
        from nbpeft.teaching.loading import tokenizer_at

        return tokenizer_at(root.name_or_path)
    return found


def _common(around: Surroundings, root: Any, tokenizer: Any) -> int | None:
    """How many tokens both have; an output layer that was padded has the vocabulary it had."""
    student, teacher = outputs_of(around.handle.root), outputs_of(root)
    if tokenizer is None:
        return None
    if tokenizer is around.tokenizer:
        return min(student, teacher) if fits(tokenizer, teacher) else None
    same = tokenizer.get_vocab() == around.tokenizer.get_vocab()
    return min(student, teacher) if same else None


def _nobody(around: Surroundings, name: str) -> RequestError:
    models = [n for n, v in models_in(around.variables).items() if v is not around.handle.owner]
    known = [*models, *around.session.names(around.handle)]
    return RequestError(
        f"There is no teacher {quoted(name)}.{did_you_mean(name, known)} The models and adapters "
        f"that could be one are: {listed(known)}; a folder is written as ./NAME, the hub as "
        "hub:owner/name."
    )
