"""Trainers over pooled features: a head's scores of texts, which a loss is made of.

Where nothing but the head is trained, the body gives the same features every time: they are
computed once, before the first step, and the trainer's rows are vectors from there on. A head of
one layer over them is then fitted by scikit-learn, not in steps (see `_fitted`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.objectives._fitted import Fitted
from nbpeft.objectives._lengths import by_length

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nbpeft.mounts.heads import Head
    from nbpeft.seam.features import Layout, Reader
    from nbpeft.seam.probe import Choice

FEATURES = "features"
"""Where a row has its texts' vectors once they are computed: (texts, width)."""


@dataclass(frozen=True)
class Texts:
    """A collator: rows of one text or several each -> a batch, text by text."""

    layout: Layout
    columns: Sequence[str]
    """Of the texts' token ids."""
    labels: Callable[[Sequence[dict[str, Any]]], torch.Tensor]
    """Rows -> (rows) what they are told apart by; the trainer counts rows by it."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The first texts of all rows, then the second ones."""
        import torch

        labels = {"labels": self.labels(rows)}
        if FEATURES in rows[0]:
            vectors = torch.stack([row[FEATURES] for row in rows], 1)
            return {**labels, FEATURES: vectors.flatten(0, 1)}
        texts = [row[column] for column in self.columns for row in rows]
        return {**labels, **self.layout(texts)}


class Pooled(Fitted):
    """Before a Trainer: `scores` of a batch's texts, and the features that are computed once."""

    columns: tuple[str, ...] = ("input_ids",)
    tried: Choice | None = None
    """What trying the model came to, where that is known."""
    reader: Reader | None = None
    """None before it was chosen."""
    grouped = False
    """Whether batches are of rows of about one length."""

    # The trainer's own.
    accelerator: Any

    @staticmethod
    def labels(rows: Sequence[dict[str, Any]]) -> torch.Tensor:
        """(rows) what they are told apart by."""
        raise NotImplementedError

    def take(self, choice: Choice | None, *, grouped: bool) -> None:
        """Read texts the way that was chosen from here on."""
        from nbpeft.seam.features import PackedReader, reader_of

        self.reader = reader_of(self.model, choice)
        self.grouped = grouped and not isinstance(self.reader, PackedReader)
        self.data_collator = Texts(self.reader.layout, self.columns, self.labels)

    @property
    def head(self) -> Head:
        """The head that is trained."""
        from nbpeft.mounts.headed import head_in

        return head_in(self.model)

    def scores(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """(texts, outputs) in fp32, whatever the body's precision is."""
        import torch

        assert self.reader is not None
        vectors = batch.get(FEATURES)
        if vectors is None:
            self.count(sum(batch["lengths"]))
            # What Accelerate wraps is the whole model's forward, which isn't called here.
            with self.accelerator.autocast():
                vectors = self.reader.features(dict(batch), self.head.pooling)
        with torch.autocast(vectors.device.type, enabled=False):
            scores: torch.Tensor = self.head(vectors.float())
        return scores

    def freeze(self) -> None:
        """Compute the features once, where nothing but the head is trained.

        Raises:
            KeyboardInterrupt: the run was stopped meanwhile.
        """
        own = {id(p) for p in self.head.parameters()}
        if any(p.requires_grad and id(p) not in own for p in self.model.parameters()):
            return
        self.train_dataset = self._with_features(self.train_dataset)
        if self.eval_dataset is not None:
            self.eval_dataset = self._with_features(self.eval_dataset)
        self.grouped = False
        self.at_once = self.head.only is not None

    def _with_features(self, rows: Any) -> list[dict[str, Any]]:
        """The same rows in the same order, with vectors in place of texts."""
        import torch

        texts = [(i, column) for i in range(len(rows)) for column in self.columns]
        ids = {column: rows[column] for column in self.columns}
        texts.sort(key=lambda text: len(ids[text[1]][text[0]]))  # little padding
        found: dict[tuple[int, str], torch.Tensor] = {}
        size = self.args.train_batch_size  # as many as the run was found to have room for
        for start in range(0, len(texts), size):
            if self.watch.job.stop.asked:
                raise KeyboardInterrupt
            part = texts[start : start + size]
            vectors = self._read([ids[column][i] for i, column in part])
            found.update(zip(part, vectors, strict=True))
        kept = [name for name in rows.column_names if name not in self.columns]
        return [
            {name: row[name] for name in kept}
            | {FEATURES: torch.stack([found[i, column] for column in self.columns])}
            for i, row in enumerate(rows)
        ]

    def _read(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """(texts, width) in fp32, on the host."""
        import torch

        assert self.reader is not None
        training = self.model.training
        self.model.eval()  # dropout would be drawn once for all
        batch = self._prepare_inputs(self.reader.layout(texts))
        with torch.no_grad(), self.accelerator.autocast(), self.reader.over(batch):
            vectors = self.reader.features(batch, self.head.pooling)
        self.model.train(training)
        return vectors.float().cpu()

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any) -> torch.Tensor:
        """Forward and backward: with checkpointing, the latter runs forwards again."""
        with self._over(inputs):
            step: torch.Tensor = super().training_step(model, inputs, *args)  # type: ignore[misc]
        return step

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **words: Any
    ) -> Any:
        """A held-out batch."""
        with self._over(inputs):
            return super().prediction_step(model, inputs, *args, **words)

    def _over(self, inputs: dict[str, Any]) -> AbstractContextManager[None]:
        if self.reader is None or FEATURES in inputs:
            return contextlib.nullcontext()
        return self.reader.over(inputs)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self.grouped:
            return super()._get_train_sampler(train_dataset)  # type: ignore[misc]
        return by_length(train_dataset or self.train_dataset, self.args)


def padded_texts(kind: type[Pooled], tokenizer: Any) -> Texts:
    """The collator of a trainer's rows before its model was tried."""
    from nbpeft.seam.features import Layout
    from nbpeft.seam.packing import Padded

    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    filler = next(i for i in ids if i is not None)
    return Texts(Layout(Padded(filler)), kind.columns, kind.labels)


def quicken(trainer: Any, settings: Mapping[str, Any]) -> str:
    """Try the model and pack rows where that changes nothing; see `Objective.quicken`."""
    from nbpeft.architectures import architecture_of
    from nbpeft.mounts.heads import Classifier
    from nbpeft.seam.features import is_prompted
    from nbpeft.seam.probe import choose

    model, choice = trainer.model, trainer.tried
    packs = trainer.head.pooling == "last" and not is_prompted(model)
    if isinstance(model, Classifier) or not packs or architecture_of(model) != "decoder":
        choice = None
    elif choice is None:
        longest = trainer.args.max_length
        choice = choose(model, longest=longest, autocast=trainer.accelerator.autocast)
    trainer.take(choice, grouped="train_sampling_strategy" not in settings)
    slow = choice is not None and choice.way != "packed" and choice.why
    return f"rows are padded, not packed: {choice.why}" if slow and choice else ""
