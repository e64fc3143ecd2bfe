"""What is known of one adapter: plain values, no tensors."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nbpeft.precision import AS_LOADED
from nbpeft.request import Quantize

FORMAT = 1
"""Of the JSON file on the shelf."""


@dataclass(frozen=True)
class Record:
    """One version of one adapter."""

    name: str
    version: int
    method: str
    objective: str
    model: str
    """Fingerprint of the base that it belongs to."""
    trainable_parameters: int
    total_parameters: int
    """Of the base."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """`loss`, `held_out_loss`, `held_out_loss_before` (nats a trained token), `steps`,
    `seconds`, `peak_memory` (bytes)."""
    losses: tuple[tuple[int, float], ...] = ()
    held_out: tuple[tuple[int, float], ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict)
    """What was asked, as `Request.to_dict` gives it."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What that came to: fields of the method's config and of the trainer's."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Fingerprint of the rows, how they were rendered, and a few prompts of them."""
    findings: Mapping[str, Any] = field(default_factory=dict)
    """What the objective found beside its figures: of a classifier `labels` and `confusion`."""
    parent: str | None = None
    """NAME@VERSION that it went on from."""
    partial: bool = False
    """The run was stopped."""
    created: str = ""
    """UTC, ISO 8601."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the libraries that made it."""
    state: str = AS_LOADED
    """Precision of the base that it was trained on."""
    path: Path | None = None
    """Its folder on the shelf; None while it is only in the session."""
    size: int = 0
    """Bytes of its weights on the shelf."""

    @property
    def label(self) -> str:
        """NAME@VERSION; of what has no versions (adopted, made of others) its name."""
        return f"{self.name}@{self.version}" if self.version else self.name

    @property
    def trainable_percent(self) -> float:
        """Trainable parameters in per cent of the base's."""
        return 100 * self.trainable_parameters / max(1, self.total_parameters)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; where it lies is for the shelf to know."""
        kept = {k: v for k, v in asdict(self).items() if k not in ("path", "size")}
        return {"format": FORMAT, **kept}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any], path: Path, size: int) -> Record:
        """Read back what `to_dict` gave; TypeError or KeyError when it is something else."""
        if is_newer(kept):
            raise TypeError(f"format: {kept['format']!r}")
        values = {k: v for k, v in kept.items() if k != "format"}
        for word, hint in typing.get_type_hints(cls).items():
            kind = typing.get_origin(hint) or hint
            if word in values and kind in (str, int, bool, Mapping):
                _check_kind(word, values[word], kind)
        if values.get("state", AS_LOADED) not in (AS_LOADED, *typing.get_args(Quantize)):
            raise TypeError(f"state: {values['state']!r}")
        for word, value in values.get("metrics", {}).items():
            _check_kind(word, value, (int, float))
        for name in ("losses", "held_out"):
            values[name] = tuple((int(step), float(loss)) for step, loss in values[name])
        return cls(**values, path=path, size=size)


def is_newer(kept: Mapping[str, Any]) -> bool:
    """Whether a nbpeft to come wrote this."""
    written = kept.get("format", FORMAT)
    return isinstance(written, int) and written > FORMAT


def _check_kind(word: str, value: Any, kind: type | tuple[type, ...]) -> None:
    """A file that was edited by hand is as good as none."""
    if not isinstance(value, kind):
        raise TypeError(f"{word}: {value!r}")
