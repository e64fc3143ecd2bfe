"""Reads texts as an adapter does and lets its head say what they are worth, or which label fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.data import Rendering
from nbpeft.errors import RequestError
from nbpeft.session.models import Handle
from nbpeft.session.record import Record
from nbpeft.session.session import Session

if TYPE_CHECKING:
    import torch
    from torch import nn

AT_ONCE = 16
"""Texts that are read in one batch."""


class Rater:
    """A reward model or a classifier over a base that is in the kernel; no copy of the base.

    It answers by swapping pointers, in eval mode, so that another adapter may be in training on the
    same base: that one is put aside, by its pointers, before a rater is made or asked.

    Args:
        record: of an adapter with a head: trained with the objective reward or classify.
        tokenizer: the model's.

    Raises:
        RequestError: the adapter has no head.
    """

    def __init__(self, session: Session, handle: Handle, record: Record, tokenizer: Any) -> None:
        head = session.head(handle, record)
        if head is None:
            raise RequestError(
                f"{record.label} was trained with the objective {record.objective} and gives no "
                "scores or labels; adapters of --objective reward or classify do."
            )
        self._handle = handle
        self._record = record
        self._head = head
        self.tokenizer = tokenizer
        self.names: tuple[str, ...] = tuple(head.config.get("names", ()))
        """Of the labels; none where it gives scores."""

    @property
    def scores_texts(self) -> bool:
        """Whether it gives one score a text, and no labels."""
        return int(self._head.config["labels"]) == 1

    @property
    def rendering(self) -> Rendering:
        """How prompts were written in training."""
        told = self._record.data.get("rendering")
        return Rendering(**told) if told else Rendering("text")

    def rate(self, texts: Sequence[Sequence[int]]) -> list[float]:
        """One score a text, higher for a better one.

        Args:
            texts: token ids, such as a prompt's with an answer's and the end token behind them.

        Raises:
            RequestError: the adapter is a classifier.
        """
        if not self.scores_texts:
            raise RequestError(
                f"{self._record.label} gives labels and no scores: nbpeft.predict"
                f"({self._record.name!r}, texts) has them; a score comes from --objective reward."
            )
        return [float(score) for score in self.outputs(texts).squeeze(-1)]

    def probabilities(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Of each text a probability for each of `names`; they sum to 1."""
        shares: list[list[float]] = self.outputs(texts).softmax(-1).tolist()
        return shares

    def outputs(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """What the head gives: (texts, outputs), fp32, on the host."""
        import torch

        handle, head = self._handle, self._head
        mode = head.head.training
        try:
            with handle.answering_as(self._record.label) as model, torch.no_grad():
                head.put_in(handle.root)
                head.head.eval()
                return self._read(model, texts)
        finally:
            head.head.train(mode)

    def _read(self, model: nn.Module, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """A few texts at a time, those of about one length together."""
        import torch

        from nbpeft.seam.features import reader_of

        head, reader = self._head.head, reader_of(model)
        device = next(self._handle.root.parameters()).device
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = torch.empty(len(texts), int(self._head.config["labels"]))
        for start in range(0, len(order), AT_ONCE):
            part = order[start : start + AT_ONCE]
            batch = {
                name: value.to(device) if isinstance(value, torch.Tensor) else value
                for name, value in reader.layout([texts[i] for i in part]).items()
            }
            found[part] = head(reader.features(batch, head.pooling).float()).cpu()
        return found
