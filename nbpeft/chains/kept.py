"""What a chain keeps: its request, the rows of its stages, and which stages are done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = "feedback"
STATE = "chain.json"


@dataclass(frozen=True)
class Kept:
    """The folder of one chain, beside the versions of its adapter."""

    folder: Path

    @property
    def begun(self) -> bool:
        """Whether a chain was begun here and isn't done."""
        return (self.folder / STATE).is_file() and not self.state().get("done", False)

    def state(self) -> dict[str, Any]:
        """request, fingerprint, stages that are done."""
        state: dict[str, Any] = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        return state

    def begin(self, request: Mapping[str, Any], fingerprint: str) -> None:
        """Anew: what an earlier chain of this name kept is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._write({"request": dict(request), "fingerprint": fingerprint, "stages": []})

    def is_done(self, stage: str) -> bool:
        """Whether a stage is."""
        return stage in self.state()["stages"]

    def set_done(self, stage: str, *, all_of_it: bool = False) -> None:
        """A stage is; with it, all of the chain."""
        state = self.state()
        state["stages"].append(stage)
        self._write(state | {"done": all_of_it})

    def path(self, stage: str) -> Path:
        """Where the rows of a stage are."""
        return self.folder / f"{stage}.jsonl"

    def rows(self, stage: str) -> list[dict[str, Any]]:
        """The rows of a stage so far; a line that was broken off is dropped."""
        path = self.path(stage)
        if not path.is_file():
            return []
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        return [json.loads(line) for line in whole.splitlines()]

    def add(self, stage: str, rows: list[dict[str, Any]]) -> None:
        """More rows of a stage."""
        with self.path(stage).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def _write(self, state: Mapping[str, Any]) -> None:
        new = self.folder / f"{STATE}.new"
        new.write_text(json.dumps(state, indent=1), encoding="utf-8")
        new.replace(self.folder / STATE)
