"""Mounts of a head over the body's features (kind d).

The body is frozen and shared; the head's weights are all that is trained. The user's model answers
as ever: scores come from `model(root)`, a classifier around the body that is made for whoever asks.
A head that is trained with an adapter stands beside its mount: see `nbpeft.mounts.headed`.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from nbpeft.architectures import Architecture, architecture_of
from nbpeft.errors import AdapterError
from nbpeft.mounts.base import BaseMount

CONFIG = "head.json"
WEIGHTS = "head.safetensors"

Pooling = Literal["last", "first", "mean"]
POOLING: dict[Architecture, Pooling] = {
    "decoder": "last",
    "encoder": "mean",
    "encoder-decoder": "mean",
}
"""Only its last token has read all of a decoder's text; mean: Reimers & Gurevych 2019,
arXiv:1908.10084."""


def pooled(hidden: torch.Tensor, mask: torch.Tensor, how: Pooling) -> torch.Tensor:
    """One vector a row: (rows, tokens, width), (rows, tokens) -> (rows, width).

    `last` and `first` are those that aren't padding, on whichever side it is.
    """
    if how == "mean":
        weights = mask.to(hidden.dtype).unsqueeze(-1)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
    places = torch.arange(hidden.shape[1], device=hidden.device)
    chosen = (places * mask).argmax(1) if how == "last" else mask.to(torch.int).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), chosen]


def pooling_of(root: nn.Module, how: Pooling | Literal["auto"] = "auto") -> Pooling:
    """What suits a model's kind, where nothing is said."""
    return POOLING[architecture_of(root)] if how == "auto" else how


def body_of(root: nn.Module) -> nn.Module:
    """What gives features: of an encoder-decoder the encoder, else the model below its head."""
    model: Any = root
    body: nn.Module = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    return body


class Head(nn.Sequential):
    """Layers from a row's vector (rows, width) to its scores (rows, outputs)."""

    def __init__(self, parts: Iterable[nn.Module], pooling: Pooling) -> None:
        super().__init__(*parts)
        self.pooling = pooling

    @property
    def only(self) -> nn.Linear | None:
        """Its layer, where it has no other."""
        linear = [part for part in self if isinstance(part, nn.Linear)]
        return linear[0] if len(linear) == 1 else None


class Classifier(nn.Module):
    """A body and a head over its pooled features; answers as transformers' classifiers do."""

    def __init__(self, body: nn.Module, head: Head, labels: int) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.config = body.config
        self._labels = labels

    def features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(rows, tokens) ids -> (rows, width), in the head's precision."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.body(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return pooled(hidden, mask, self.head.pooling).to(next(self.head.parameters()).dtype)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """(rows, tokens) ids -> logits (rows, labels); with `labels` (rows,) cross-entropy, too."""
        with torch.no_grad():  # nothing of the body is trained
            features = self.features(input_ids, attention_mask)
        logits = self.head(features)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.view(-1, self._labels), labels.view(-1))
        return SequenceClassifierOutput(loss=loss, logits=logits)


@dataclass(eq=False)
class HeadMount(BaseMount):
    """A head over the body; see `nbpeft.mounts.Mount` for the contract."""

    head: Head
    config: Mapping[str, Any]
    """How the head is built: `labels`, `layers`, `pooling`, …"""
    _classifier: weakref.ref[Classifier] | None = field(default=None, init=False)

    @property
    def trainable(self) -> list[nn.Parameter]:
        """The head's."""
        return list(self.head.parameters())

    def put_in(self, root: nn.Module) -> None:
        """The head follows the model's mode and device; nothing in the tree changes."""
        self.head.train(root.training)
        self.head.to(next(root.parameters()).device)

    def take_out(self, root: nn.Module) -> None:
        """Nothing is in the tree."""

    def model(self, root: nn.Module) -> Classifier:
        """The classifier: the same one for as long as somebody holds it."""
        found = self._classifier() if self._classifier else None
        if found is None:
            found = Classifier(body_of(root), self.head, self.config["labels"])
            self._classifier = weakref.ref(found)
        found.training = root.training
        return found

    def save(self, root: nn.Module, folder: Path) -> None:
        """Write the head's arrays, and how it is built."""
        from safetensors.torch import save_file

        state = {name: value.contiguous() for name, value in self.head.state_dict().items()}
        save_file(state, str(folder / WEIGHTS), metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(dict(self.config), indent=1))


def layers_of(width: int, config: Mapping[str, Any]) -> Head:
    """Dense layers of some sizes with ReLU between, then one that gives the outputs."""
    dropout = config["dropout"]
    parts: list[nn.Module] = []
    for size in config["sizes"]:
        parts += [nn.Dropout(dropout), nn.Linear(width, size), nn.ReLU()]
        width = size
    last = [nn.Dropout(dropout), nn.Linear(width, config["labels"])]
    return Head([*parts, *last], config["pooling"])


def build(root: nn.Module, config: Mapping[str, Any]) -> HeadMount:
    """A mount with a fresh head, from the current random state.

    Args:
        config: `labels` (how many outputs), `sizes` (of dense layers before the last), `dropout`,
            `pooling`, and `names` of the labels.
    """
    width = int(root.config.hidden_size)  # type: ignore[union-attr,arg-type]
    return HeadMount(layers_of(width, config).train(root.training), config)


def load(root: nn.Module, folder: Path) -> HeadMount:
    """The head that `save` wrote.

    Raises:
        AdapterError: it is of a body of another width.
    """
    from safetensors.torch import load_file

    mount = build(root, json.loads((folder / CONFIG).read_text()))
    try:
        mount.head.load_state_dict(load_file(str(folder / WEIGHTS)))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise AdapterError(f"The head is of another model: {reason}") from None
    return mount
