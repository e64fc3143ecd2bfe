"""One adapter, all that is known of it; of a soft prompt also which tokens it lies near."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbpeft.closing import where
from nbpeft.errors import listed, quoted
from nbpeft.methods import methods
from nbpeft.methods._stored import entry
from nbpeft.objectives import objectives
from nbpeft.rendering import Table, bytes_size, count, duration, nats, percent
from nbpeft.rendering.plans import setting_text
from nbpeft.session.models import Handle
from nbpeft.session.record import Record
from nbpeft.session.session import Session

NO_TOKENS = (
    "Its keys and values stand in each layer's attention and are in no token's space: no tokens "
    "are near them."
)


@dataclass(frozen=True)
class Near:
    """A real token near to a virtual one."""

    token: str
    """Its text, quoted, with what can't be seen as code."""
    similarity: float
    """Cosine, -1 to 1."""


@dataclass(frozen=True)
class Description:
    """What there is to know of one adapter; shows itself as a table."""

    record: Record
    nearest: tuple[tuple[Near, ...], ...] = ()
    """Of a soft prompt of embeddings: the nearest tokens to each virtual one, the best first."""
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """What it is, its settings, and the tokens nearby."""
        rows: list[tuple[str, ...]] = [(k, v) for k, v in _figures(self.record).items() if v]
        for heading, part in (
            ("what was found", _found(self.record)),
            ("settings of the method", _shown(self.record.settings.get("method", {}))),
            ("settings of the training", _shown(self.record.settings.get("trainer", {}))),
            ("nearest real tokens (cosine similarity) of each virtual one", self._nearby()),
        ):
            rows += [(heading,), *part] if part else []
        return Table(self.record.label, ("", ""), tuple(rows), notes=self.notes)

    def _nearby(self) -> list[tuple[str, str]]:
        return [
            (str(number), ", ".join(f"{near.token} {near.similarity:.2f}" for near in tokens))
            for number, tokens in enumerate(self.nearest, 1)
        ]

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def describe(
    session: Session, record: Record, handle: Handle | None, tokenizer: Any = None
) -> Description:
    """All that is known of an adapter; with its model and a tokenizer, the tokens near a prompt.

    Nothing stays attached or changed; a soft prompt is read from the shelf for it.
    """
    if not _is_prompt(record.method):
        return Description(record)
    if handle is None or tokenizer is None:
        missing = "its model" if handle is None else "a tokenizer"
        return Description(record, notes=(f"With {missing} in the kernel, the tokens near it.",))
    from nbpeft.mounts.nearest import nearest
    from nbpeft.mounts.prompts import PromptMount

    mount = session.mount(handle, record)
    assert isinstance(mount, PromptMount)
    with handle.answering_as(record.label):
        found = nearest(handle.root, mount, len(tokenizer))
    if found is None:
        return Description(record, notes=(NO_TOKENS,))
    named = tuple(tuple(Near(_text(tokenizer, i), s) for i, s in tokens) for tokens in found)
    return Description(record, named)


def _is_prompt(method: str) -> bool:
    from peft import PromptLearningConfig

    config = entry(method).config_class()
    return issubclass(config, PromptLearningConfig)


def _text(tokenizer: Any, number: int) -> str:
    """A token as it reads; what is only a part of a character, as the tokenizer spells it."""
    text = tokenizer.decode([number])
    return quoted(tokenizer.convert_ids_to_tokens(number) if "\N{REPLACEMENT CHARACTER}" in text
                  else text)  # fmt: skip


def _figures(record: Record) -> dict[str, str]:
    metrics = record.metrics
    held_out = [metrics[k] for k in ("held_out_loss_before", "held_out_loss") if k in metrics]
    known = record.method in methods.names()
    method = methods.get(record.method) if known else None
    return {
        "method": f"{record.method}: {method.summary}" if method else record.method,
        "paper": method.paper if method else "",
        "objective": record.objective + (" (stopped before its end)" if record.partial else ""),
        "parameters": f"{count(record.trainable_parameters)}, "
        f"{percent(record.trainable_percent)} of {count(record.total_parameters)}",
        "loss": nats(metrics["loss"]) if "loss" in metrics else "",
        "held-out loss": " → ".join(map(nats, held_out)),
        "steps": count(int(metrics["steps"])) if "steps" in metrics else "",
        "time": duration(metrics["seconds"]) if "seconds" in metrics else "",
        "data": str(record.request.get("data", "")),
        "from": str(record.data.get("from", "")),
        "made of" if record.settings.get("recipe") is not None else "goes on from":
        record.parent or "",
        "base": f"{record.model}, {record.state}",
        "made": record.created,
        "with": listed(f"{name} {version}" for name, version in record.versions.items())
        if record.versions else "",
        "kept in": where(record),
        "size": bytes_size(record.size) if record.size else "",
    }  # fmt: skip


def _found(record: Record) -> list[tuple[str, str]]:
    if record.objective not in objectives.names():
        return []
    return list(objectives.get(record.objective).shown(record.findings, record.label).rows)


def _shown(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(word, setting_text(value)) for word, value in settings.items()]
