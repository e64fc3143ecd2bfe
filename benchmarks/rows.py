"""How long a run over 1,000 to 1,000,000 rows takes to start, and what memory that holds.

usage: python benchmarks/rows.py [--rows 1000,10000,100000,1000000]

Pairs from a JSONL file, with the embedded model and its tokenizer. `looked at` is `%peft_data`:
every row is read and checked, 2,000 are tokenized. `started` is a dry run: every row is read,
checked, split and tokenized, and the run is planned. Each figure is of a process of its own, after
the same on 100 rows, which loads the libraries: seconds, and by how much the process's own memory
grows at most (files that are mapped are not its own: the system takes them back).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from results import publish

import nbpeft
from nbpeft.rendering import Table, bytes_size, count

WORDS = "the a boat river king said went home small red tree rain".split()  # noqa: SIM905
SIZES = "1000,10000,100000,1000000"


def words(number: int) -> str:
    return " ".join(random.choices(WORDS, k=number))


def looked_at(path: str) -> None:
    repr(nbpeft.look(path, model=MODEL, tokenizer=TOKENIZER, max_length=256))


def started(path: str) -> None:
    nbpeft.finetune(
        "x", path, model=MODEL, tokenizer=TOKENIZER, max_length=256, max_steps=100, dry_run=True
    )


ACTS: dict[str, Callable[[str], None]] = {"looked at": looked_at, "started": started}
MODEL: Any
TOKENIZER: Any


def written(path: Path, number: int) -> Path:
    """So many rows, the same each time, a line each."""
    random.seed(0)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(number):
            file.write(json.dumps({"prompt": words(20), "completion": words(40)}) + "\n")
    return path


class Own:
    """The process's own memory, looked at fifty times a second."""

    def __init__(self) -> None:
        self.before = self.peak = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._now())

    def _now(self) -> int:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def one(act: str, few: str, path: str) -> dict[str, float]:
    """In this process: seconds and bytes."""
    global MODEL, TOKENIZER
    MODEL, TOKENIZER = nbpeft.load_tiny()
    ACTS[act](few)
    with Own() as own:
        began = time.perf_counter()
        ACTS[act](path)
        took = time.perf_counter() - began
    return {"seconds": round(took, 2), "bytes": max(0, own.peak - own.before)}


def apart(act: str, few: Path, path: Path) -> dict[str, float]:
    """In a process of its own."""
    command = [sys.executable, __file__, "--one", act, str(few), str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default=SIZES)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(*asked.one)))
        return
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        few = written(Path(folder) / "few.jsonl", 100)
        for number in map(int, asked.rows.split(",")):
            path = written(Path(folder) / "rows.jsonl", number)
            figures += [
                {"rows": number, "file": path.stat().st_size, "act": act} | apart(act, few, path)
                for act in ACTS
            ]
    publish(
        "rows",
        Table(
            title="rows, until a run starts",
            header=("rows", "file", "", "seconds", "own memory grown"),
            rows=tuple(
                (
                    count(f["rows"]), bytes_size(f["file"]), f["act"], f"{f['seconds']:.1f}",
                    bytes_size(f["bytes"]),
                )
                for f in figures
            ),
            align=("right", "right", "left", "right", "right"),
        ),
        figures,
    )  # fmt: skip


if __name__ == "__main__":
    main()
