"""A teacher's answers and targets on disk, made once for all epochs, and for the next run alike.

They stand beside the adapter, in `adapters/NAME/targets/`: answers as JSON lines, of every learned
token the likeliest of the teacher's next tokens with their log-probabilities and the mass of all
others, as arrays that are mapped into memory. Each has a key, of all that it follows from: a run
that is repeated or resumed finds them, one that asks for others makes them anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RunError
from nbpeft.rendering import bytes_size

if TYPE_CHECKING:
    import numpy as np
    import torch

FOLDER = "targets"


def key_of(*parts: Any) -> str:
    """A key of values that are ready for JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


class KeptAnswers:
    """Answers (row, which of them, turn) -> token ids, written as soon as they are there."""

    def __init__(self, folder: Path, split: str, key: str) -> None:
        self._path = folder / f"{split}.answers.jsonl"
        self._key = key
        self.found = self._read()
        self.reused = len(self.found)
        """How many were there already."""

    def add(self, answers: Mapping[Sequence[int], Sequence[int]]) -> None:
        """More of them."""
        if not self.found:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"key": self._key}) + "\n", encoding="utf-8")
        self.found |= {tuple(place): list(ids) for place, ids in answers.items()}
        with self._path.open("a", encoding="utf-8") as file:
            for place, ids in answers.items():
                file.write(json.dumps({"place": list(place), "ids": list(ids)}) + "\n")

    def _read(self) -> dict[tuple[int, ...], list[int]]:
        if not self._path.is_file():
            return {}
        try:
            head, *rows = map(json.loads, self._whole())
            same = head.get("key") == self._key
            return {tuple(row["place"]): row["ids"] for row in rows} if same else {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}  # edited by hand, it is as good as none

    def _whole(self) -> list[str]:
        """Its lines; one that was broken off while it was written is dropped."""
        text = self._path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, encoding="utf-8")
        return whole.splitlines() or ["{}"]


@dataclass(frozen=True)
class Shape:
    """What is kept of a distribution."""

    kept: int | None
    """Tokens; None for all of `vocabulary`."""
    vocabulary: int

    @property
    def top(self) -> int | None:
        """How many tokens are kept by their ids; None where all are, in their order."""
        return None if self.kept is None or self.kept >= self.vocabulary else self.kept

    @property
    def logs(self) -> int:
        """Log-probabilities of a token: with top-k also that of the rest."""
        return self.vocabulary if self.top is None else self.top + 1

    def parted(self, summary: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(logs,) or (logs, ids) of what `_divergences.summary` gives; its last is the label's."""
        if self.top is None:
            return (summary[:, : self.logs],)
        return summary[:, : self.logs], summary[:, self.logs : self.logs + self.top].long()

    @property
    def small(self) -> bool:
        """Whether ids fit into 16 bits."""
        return self.vocabulary <= 1 << 16

    @property
    def bytes(self) -> int:
        """A token's, in the store."""
        return 2 * self.logs + (self.top or 0) * (2 if self.small else 4) + 4


class KeptTargets:
    """Targets of the learned tokens of one split, in the order of its rows.

    logs (tokens, k + 1) float16, indices (tokens, k) unsigned, label (tokens,) float32: the
    log-probability that the teacher gives the token which stands there.
    """

    def __init__(self, folder: Path, split: str, key: str, tokens: int, shape: Shape) -> None:
        self._folder = folder
        self._split = split
        self._state = folder / f"{split}.targets.json"
        self._key = key_of(key, tokens, shape.kept, shape.vocabulary)
        self._tokens = tokens
        self.shape = shape
        self.done = self._done()
        """Tokens that are there."""
        self.reused = self.done
        self._arrays = self._opened()

    @property
    def bytes(self) -> int:
        """On disk."""
        return self._tokens * self.shape.bytes

    def write(self, summary: torch.Tensor) -> None:
        """The next tokens' targets, as `nbpeft.objectives._divergences.summary` has them."""
        summary = summary.float().cpu()
        here = slice(self.done, self.done + len(summary))
        parts = zip(("logs", "indices"), self.shape.parted(summary), strict=False)
        for name, values in parts:
            self._arrays[name][here] = values.clamp(min=-65504).numpy()
        self._arrays["label"][here] = summary[:, -1].numpy()
        self.done = here.stop
        self._state.write_text(json.dumps({"key": self._key, "done": self.done}), "utf-8")

    def read(self, spans: Sequence[slice]) -> tuple[Any, ...]:
        """(logs (n, …) fp32, indices (n, k) int64), of stretches of tokens; full: logs alone."""
        import numpy as np
        import torch

        def of(name: str, kind: Any) -> torch.Tensor:
            parts = [np.asarray(self._arrays[name][span]) for span in spans]
            return torch.from_numpy(np.concatenate(parts).astype(kind))

        logs = of("logs", np.float32)
        return (logs,) if self.shape.top is None else (logs, of("indices", np.int64))

    def label_loss(self) -> float:
        """The teacher's own loss on the labels, nats a token."""
        return -float(self._arrays["label"].mean())

    def _done(self) -> int:
        if not self._state.is_file():
            return 0
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            same, done = state["key"] == self._key, int(state["done"])
        except (ValueError, KeyError, TypeError):
            return 0
        return done if same and all(path.is_file() for path, *_ in self._kinds()) else 0

    def _kinds(self) -> Iterator[tuple[Path, str, Any, tuple[int, ...]]]:
        shape, n = self.shape, self._tokens
        ids = "uint16" if shape.small else "uint32"
        wanted = [("logs", "float16", (n, shape.logs)), ("label", "float32", (n,))]
        if shape.top is not None:
            wanted.append(("indices", ids, (n, shape.top)))
        for name, kind, size in wanted:
            yield self._folder / f"{self._split}.{name}.npy", name, kind, size

    def _opened(self) -> dict[str, np.ndarray[Any, Any]]:
        import numpy as np

        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.done:
            self._make_room()
        how = "r+" if self.done else "w+"
        return {
            name: np.lib.format.open_memmap(path, how, kind, size)
            for path, name, kind, size in self._kinds()
        }

    def _make_room(self) -> None:
        """What is there is of other targets."""
        self._state.unlink(missing_ok=True)
        for path, *_ in self._kinds():
            path.unlink(missing_ok=True)
        free = shutil.disk_usage(self._folder).free
        if self.bytes > free:
            raise RunError(
                f"The teacher's targets would take {bytes_size(self.bytes)} on disk, and "
                f"{bytes_size(free)} are free: type a smaller top_k, or give fewer rows."
            )
