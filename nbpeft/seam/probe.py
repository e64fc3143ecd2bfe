"""Which way a model's batches go, tried out on the model itself before a run.

Three ways, the fastest first:

- packed: rows behind one another without padding, logits only where tokens are trained;
- padded: rows padded to the longest, logits only where tokens are trained;
- plain: the trainer's own.

Whether an architecture can be packed is nowhere written down reliably: a model may keep a state
across tokens (Mamba, RWKV), add a bias by distance (ALiBi) or never ask for the attention that it
is told to use. So a few short rows of unequal length are put through the model as it is about to
be trained, adapter and all, plainly and in the faster ways; log-probabilities and the gradients of
what is trained must be the same but for rounding, and no row's may change with another's tokens.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from nbpeft.guard import Guard, configs_of
from nbpeft.seam.attention import Attention
from nbpeft.seam.finding import head_of
from nbpeft.seam.packing import NOT_TRAINED, Packed, Padded
from nbpeft.seam.scores import Scorer

Autocast = Callable[[], AbstractContextManager[Any]]

Way = Literal["packed", "padded", "plain"]

LENGTHS = (5, 14, 9)
"""Tokens of the rows that are tried."""
NARROW = 4
"""The attention window that they are tried with: else rows would have to be thousands long."""
WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""Where modules and configs keep a window."""


@dataclass(frozen=True)
class Choice:
    """The way that a run's batches go."""

    way: Way
    scorer: Scorer | None = None
    """None on the plain way."""
    filler: int = 0
    """The id that padding has on the padded way."""
    why: str = ""
    """Why not packed; '' where it is, or where nobody would wonder."""


@dataclass(frozen=True)
class Seen:
    """What a model made of the rows."""

    scores: torch.Tensor
    """(trained tokens) log-probabilities."""
    slope: list[torch.Tensor]
    """The gradients of their mean, of each trained parameter."""


def choose(
    model: nn.Module,
    *,
    longest: int | None,
    autocast: Autocast = contextlib.nullcontext,
) -> Choice:
    """Try the model, with what is attached to it, and leave nothing changed.

    Args:
        model: what the trainer gets: transformers' own model, or PEFT's around it.
        longest: tokens of the longest row that the run may hold; windows that are wider don't
            matter. None for no limit.
        autocast: what forwards run under.
    """
    root = model.get_base_model() if isinstance(model, PeftModel) else model
    # In eval mode: with dropout no two forwards are alike.
    with Guard(model, writable=list(model.parameters())):
        model.eval()
        try:
            head = head_of(model)
        except Exception as error:  # noqa: BLE001  whatever a model's forward may raise
            return Choice("plain", why=_said(error))
        if head is None:
            return Choice("plain", why="" if _soft(model) else "how it makes its logits is unknown")
        scorer = Scorer(head, Attention(root))
        narrow(root, longest)
        return _Trial(model, root, scorer, autocast).choice()


def bound(choice: Choice, model: nn.Module) -> Choice:
    """The same choice for the model with something else in it, or for its like without values."""
    root: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    # What isn't transformers' own makes no logits: a head over a body's features.
    if choice.scorer is None or _soft(model) or not isinstance(root, PreTrainedModel):
        return Choice("plain", why=choice.why)
    head = dataclasses.replace(
        choice.scorer.head, body=root.base_model, lm_head=root.get_output_embeddings()
    )
    return dataclasses.replace(choice, scorer=Scorer(head, Attention(root)))


def moved(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch with its tensors on a device."""
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


@dataclass(frozen=True)
class _Trial:
    """A model, and what it is tried with."""

    model: nn.Module
    root: Any
    scorer: Scorer
    autocast: Autocast

    def choice(self) -> Choice:
        """The fastest way that comes to what the plain way comes to."""
        rows, others = trial_rows(self.root, 0), trial_rows(self.root, 1)
        padded = Padded(filler_of(self.root))(rows)
        try:
            plain = self._plainly(padded)
        except Exception as error:  # noqa: BLE001  then the run says so itself
            return Choice("plain", why=_said(error))
        why = self._tried(Packed()(rows), plain) or self._leaks(rows, others)
        if not why:
            return Choice("packed", self.scorer)
        if self._tried(padded, plain):
            return Choice("plain", why=why)
        return Choice("padded", self.scorer, filler_of(self.root), why)

    def _tried(self, batch: dict[str, Any], plain: Seen) -> str:
        """How a faster way comes out otherwise than the plain one; '' where it doesn't."""
        try:
            return _difference(self._seen(batch), plain, coarse=self._coarse)
        except Exception as error:  # noqa: BLE001  whatever a model's forward may raise
            return _said(error)

    def _leaks(self, rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
        """Whether packed rows see each other: the last ones' scores, with another row before them.

        Finer than comparing with the plain way, which adds up in another order.
        """
        first = sum(label != NOT_TRAINED for label in rows[0]["labels"])
        with torch.no_grad():
            scores = [
                self._scores(self._here(Packed()([before, *rows[1:]])))[first:]
                for before in (rows[0], others[0])
            ]
        off = float((scores[0] - scores[1]).abs().max())
        if off <= (2e-2 if self._coarse else 1e-5):
            return ""
        return f"rows see each other (log-probabilities move by {off:.2g})"

    def _plainly(self, batch: dict[str, Any]) -> Seen:
        """By the model's own forward, all logits in fp32."""
        batch = self._here(batch)
        given = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.enable_grad():
            with self.autocast():
                logits = self.model(**given, use_cache=False).logits
            logs = torch.log_softmax(logits.flatten(0, 1)[batch["scored"]].float(), -1)
            scores = logs.gather(-1, batch["labels"].unsqueeze(-1)).squeeze(-1)
            return Seen(scores.detach(), self._slope(scores))

    def _seen(self, batch: dict[str, Any]) -> Seen:
        batch = self._here(batch)
        with torch.enable_grad(), self.scorer.over(batch):
            scores = self._scores(batch)
            return Seen(scores.detach(), self._slope(scores))

    def _scores(self, batch: dict[str, Any]) -> torch.Tensor:
        with self.scorer.over(batch), self.autocast():
            return self.scorer.scores(batch)

    def _slope(self, scores: torch.Tensor) -> list[torch.Tensor]:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        if not trained:
            return []
        found = torch.autograd.grad(scores.mean(), trained, allow_unused=True)
        return [
            torch.zeros_like(p) if g is None else g for p, g in zip(trained, found, strict=True)
        ]

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.root.get_input_embeddings().weight.device
        return device

    @property
    def _coarse(self) -> bool:
        """Whether anything is computed in half precision."""
        with self.autocast():
            if torch.is_autocast_enabled(self._device.type):
                return True
        return any(p.element_size() < 4 for p in self.model.parameters())

    def _here(self, batch: dict[str, Any]) -> dict[str, Any]:
        return moved(batch, self._device)


def _soft(model: nn.Module) -> bool:
    """Whether a prompt is put before the tokens."""
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def narrow(root: nn.Module, longest: int | None) -> None:
    """Make windows that the run's rows go beyond so narrow that the rows tried go beyond them."""
    for owner in (*root.modules(), *configs_of(root.modules())):
        for name in WINDOWS:
            width = vars(owner).get(name)
            if type(width) is int and width > NARROW and (longest is None or width < longest):
                vars(owner)[name] = NARROW


def trial_rows(root: Any, seed: int) -> list[dict[str, Any]]:
    """Random rows, of whose first tokens some aren't trained."""
    source = torch.Generator().manual_seed(seed)
    # By its weight: an adapter may stand around it.
    words, filler = len(root.get_input_embeddings().weight), filler_of(root)
    rows = []
    for skipped, length in enumerate(LENGTHS, 1):
        drawn = torch.randint(words, (length,), generator=source).tolist()
        ids = [(token + 1) % words if token == filler else token for token in drawn]
        rows.append({"input_ids": ids, "labels": [NOT_TRAINED] * skipped + ids[skipped:]})
    return rows


def filler_of(root: Any) -> int:
    """An id to fill up with: the config's padding token, or 0."""
    pad = root.config.get_text_config(decoder=True).pad_token_id
    return pad if isinstance(pad, int) and pad >= 0 else 0


def _difference(seen: Seen, plain: Seen, *, coarse: bool) -> str:
    """What differs by more than rounding; '' for nothing."""
    off = float((seen.scores - plain.scores).abs().max())
    if not off <= (0.25 if coarse else 1e-4):  # not a number is no agreement
        return f"log-probabilities differ by {off:.2g}"
    whole = _norm(plain.slope)
    gap = _norm([a.float() - b.float() for a, b in zip(seen.slope, plain.slope, strict=True)])
    if not gap <= (0.1 if coarse else 1e-3) * whole:
        return f"gradients differ by {gap / max(whole, 1e-30):.1%}"
    return ""


def _norm(tensors: Sequence[torch.Tensor]) -> float:
    return sum(float(t.float().pow(2).sum()) for t in tensors) ** 0.5
