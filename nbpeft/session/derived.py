"""Adapters made of others when they are asked for: `a+b` is their sum, `NAME:4` a cut to rank 4.

The label of what is made says of which versions: `a@2+b@1`, `NAME@3:4`. It is made of their weights
as they are then, lives in this kernel only, and is listed only once it has a name of its own.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.errors import AdapterError, RequestError, listed, quoted
from nbpeft.methods import methods
from nbpeft.methods.lora import REWRITING_INITS
from nbpeft.session.recipe import SAME_RANK, Recipe
from nbpeft.session.record import Record

if TYPE_CHECKING:
    from nbpeft.mounts import Mount
    from nbpeft.session.models import Handle
    from nbpeft.session.session import Session

SUM, CUT = "+", ":"
COMBINED, CUT_OUT = "combined", "cut"
"""What their records have for an objective."""


def is_derived(label: str) -> bool:
    """Whether a label names an adapter that is made of others."""
    return SUM in label or CUT in label


@dataclass(frozen=True)
class Derived:
    """What a label names: adapters to add up, or one to cut to a rank."""

    parts: tuple[Record, ...]
    rank: int | None
    """None is a sum."""

    @classmethod
    def of(cls, session: Session, handle: Handle, label: str) -> Derived:
        """Read a label; AdapterError when it can't be, or a part isn't there."""
        if SUM not in label:
            name, _, rank = label.partition(CUT)
            if not rank.isdecimal() or int(rank) < 1:
                raise AdapterError(
                    f"{quoted(label)} names no rank: type NAME:4, a number after the colon."
                )
            return cls((session.record(handle, name),), int(rank))
        names = [name.strip() for name in label.split(SUM)]
        if not all(names):
            raise AdapterError(f"{quoted(label)} lacks a name: type a+b, without spaces.")
        parts = tuple(session.record(handle, name) for name in names)
        labels = [part.label for part in parts]
        if len(set(labels)) < len(labels):
            raise AdapterError(f"{quoted(label)} has an adapter twice; give it a weight instead.")
        return cls(parts, None)

    @property
    def label(self) -> str:
        """With the versions of its parts."""
        if self.rank is not None:
            return f"{self.parts[0].label}{CUT}{self.rank}"
        return SUM.join(part.label for part in self.parts)

    def make(self, session: Session, handle: Handle, recipe: Recipe) -> tuple[Record, Mount]:
        """Build it; RequestError where its parts don't go together, or can't be cut."""
        if self.rank is None:
            mount, kept = self._sum(session, handle, recipe), {"recipe": recipe.given()}
        else:
            mount, kept = self._cut(session, handle, self.rank), {"recipe": {}}
        record = Record(
            name=self.label,
            version=0,
            method="lora",
            objective=COMBINED if self.rank is None else CUT_OUT,
            model=handle.fingerprint,
            trainable_parameters=mount.trainable_parameters,
            total_parameters=handle.total_parameters,
            settings=kept,
            data=self.parts[0].data,
            parent=self.label,
            state=self.parts[0].state,
        )
        return record, mount

    def _cut(self, session: Session, handle: Handle, rank: int) -> Mount:
        (part,) = self.parts
        method = methods.get(part.method)
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(folder_of(session, handle, part))
            stack.enter_context(handle.bare(part.state))
            return method.cut(handle.root, folder, rank)

    def _sum(self, session: Session, handle: Handle, recipe: Recipe) -> Mount:
        from nbpeft.mounts import combined

        weights = recipe.weights or [1.0] * len(self.parts)
        if len(weights) != len(self.parts):
            raise RequestError(
                f"{len(self.parts)} adapters want {len(self.parts)} weights, {len(weights)} were "
                f"given: --weights {','.join(['0.5'] * len(self.parts))}."
            )
        states = list(dict.fromkeys(part.state for part in self.parts))
        if len(states) > 1:
            raise RequestError(
                f"{self.label} can't be combined: they stand on the base in other precisions "
                f"({listed(states)}), and a sum stands on one."
            )
        ranks = [_checked_rank(part, session.mount(handle, part), handle) for part in self.parts]
        if recipe.combination in SAME_RANK and len(set(ranks)) > 1:
            raise RequestError(
                f"{recipe.combination} mixes matrices of one rank, and these have ranks "
                f"{listed(map(str, ranks))}; type --combination cat or svd."
            )
        with contextlib.ExitStack() as stack:
            folders = [stack.enter_context(folder_of(session, handle, p)) for p in self.parts]
            stack.enter_context(handle.bare(states[0]))
            try:
                return combined.build(handle.root, folders, weights, recipe.how())
            except (ValueError, TypeError) as error:
                reason = " ".join(str(error).split())
                raise RequestError(f"PEFT can't combine {self.label}: {reason}") from error


_VARIANTS = {
    "use_dora": "is a DoRA, whose magnitudes don't add up",
    "bias": "trains biases of the base, too",
    "lora_bias": "has biases of its own",
    "modules_to_save": "holds whole modules of the base (modules_to_save)",
    "target_parameters": "changes bare parameters (target_parameters)",
    "trainable_token_indices": "holds rows of the embeddings (trainable_token_indices)",
    "alora_invocation_tokens": "is an aLoRA, which waits for its own tokens",
    "use_qalora": "is a QA-LoRA",
}


def _checked_rank(part: Record, mount: Mount, handle: Handle) -> int:
    """The rank of a plain LoRA; RequestError says what else it is."""
    from peft import LoraConfig

    config = _config_of(mount, handle)
    if type(config) is not LoraConfig:
        raise _not_combined(part, f"was made with {part.method}")
    plain = LoraConfig()
    for word, what in _VARIANTS.items():
        given, default = config.__dict__.get(word), plain.__dict__.get(word)
        if given and given != default:
            raise _not_combined(part, what)
    init = config.init_lora_weights
    if isinstance(init, str) and init.startswith(REWRITING_INITS):
        raise _not_combined(part, f"began at {init}, which rewrites the base's weights")
    return max([config.r, *(config.rank_pattern or {}).values()])


def _config_of(mount: Mount, handle: Handle) -> Any:
    """PEFT's config of an adapter that stands in place of modules; None of another kind."""
    from nbpeft.mounts.adopted import AdoptedMount
    from nbpeft.mounts.modules import ModulesMount

    if isinstance(mount, AdoptedMount):
        return handle.root.peft_config[mount.name]  # type: ignore[index]
    return mount.shell.peft_config["default"] if isinstance(mount, ModulesMount) else None


def _not_combined(part: Record, why: str) -> RequestError:
    return RequestError(
        f"{part.label} can't be combined: it {why}. Plain LoRA adapters can, of any rank and "
        "target_modules; %%peft_compare puts others side by side."
    )


@contextlib.contextmanager
def folder_of(session: Session, handle: Handle, part: Record) -> Iterator[Path]:
    """Where an adapter lies in PEFT's format; one that isn't on the shelf is written for now."""
    if part.path is not None:
        yield part.path
        return
    mount = session.mount(handle, part)
    with tempfile.TemporaryDirectory(prefix="nbpeft-") as folder:
        with handle.answering_as(part.label):
            mount.save(handle.root, Path(folder))
        yield Path(folder)
