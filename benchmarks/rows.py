"""How long 100,000 rows take to be described and to be tokenized, and how memory grows.

usage: python benchmarks/rows.py [--rows 100000]

Chats, pairs and raw text from a JSONL file, with the embedded model's tokenizer. `described` is
`%peft_data`: every row is read and checked, 2,000 are tokenized, figures, histogram and rows are
made. `tokenized` is all of them, as a run does it. Memory is the process's, before and after.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

import nbpeft
from nbpeft.data import read, tokenize
from nbpeft.data.looking.look import look
from nbpeft.rendering import Table, bytes_size, count

WORDS = [
    "the",
    "a",
    "boat",
    "river",
    "king",
    "said",
    "went",
    "home",
    "small",
    "red",
    "tree",
    "rain",
]


def words(number: int) -> str:
    return " ".join(random.choices(WORDS, k=number))


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "chats": lambda: {
        "messages": [
            {"role": "user", "content": words(20)},
            {"role": "assistant", "content": words(40)},
        ]
    },
    "pairs": lambda: {"prompt": words(20), "completion": words(40)},
    "text": lambda: {"text": words(60)},
}


def described(path: str, tokenizer: Any) -> None:
    found = look(read(path, {}), tokenizer, max_length=256)
    found.histogram()
    repr(found)


def tokenized(path: str, tokenizer: Any) -> None:
    tokenize(read(path, {}), tokenizer, max_length=256)


def written(path: Path, make: Callable[[], dict[str, Any]], number: int) -> Path:
    """So many rows, the same each time, a line each."""
    random.seed(0)
    with path.open("w") as file:
        file.writelines(json.dumps(make()) + "\n" for _ in range(number))
    return path


def measured(act: Callable[[str, Any], None], path: Path, tokenizer: Any) -> tuple[str, str]:
    """(seconds, how much the process has grown)."""
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    act(str(path), tokenizer)
    took = time.perf_counter() - began
    return f"{took:.1f}", bytes_size(max(0, process.memory_info().rss - before))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    number = parser.parse_args().rows
    _, tokenizer = nbpeft.load_tiny()
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        few = written(Path(folder) / "few.jsonl", KINDS["chats"], 100)
        for act in (described, tokenized):  # what is imported is not the rows'
            act(str(few), tokenizer)
        for kind, make in KINDS.items():
            path = written(Path(folder) / f"{kind}.jsonl", make, number)
            size = bytes_size(path.stat().st_size)
            rows += [
                (kind, size, act.__name__, *measured(act, path, tokenizer))
                for act in (described, tokenized)
            ]
    print(
        Table(
            title=f"{count(number)} rows",
            header=("rows", "file", "", "seconds", "memory grown"),
            rows=tuple(rows),
            align=("left", "right", "left", "right", "right"),
        ).text()
    )


if __name__ == "__main__":
    main()
