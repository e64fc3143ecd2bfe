"""How near the fit check comes: predicted against measured peak memory, a method a row.

usage: python benchmarks/fit.py [METHOD …] [--length N] [--batch N]

A Llama of 100M parameters with random weights and a vocabulary of 32,000, on the GPU if there is
one; each method in a process of its own, warmed up by a run on the embedded model, so that what
libraries take when they are loaded is there before. Measured is what the run adds to what the
process held before it (on CUDA: what torch had allocated), as the system sees it, and the weights
that were there already. Results go to build/bench/fit.json.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from results import publish
from transformers import LlamaConfig, LlamaForCausalLM

import nbpeft
from nbpeft.methods import methods
from nbpeft.quiet import quiet
from nbpeft.rendering import Table, bytes_size

SHAPE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
         "num_attention_heads": 12, "vocab_size": 32_000, "tie_word_embeddings": True}  # fmt: skip
PEAK = "VmHWM"


def build(device: str) -> Any:
    """The model, in fp32 on a CPU and in bf16 on a GPU."""
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)
    model = LlamaForCausalLM(config).eval()
    return model.to(device, torch.bfloat16 if device == "cuda" else torch.float32)


def rows(tokenizer: Any, count: int, length: int) -> list[dict[str, str]]:
    """Texts that fill rows of that length, with the token that ends them."""
    words = " the old river ran down to the sea and the boats came in" * length
    ids = tokenizer(words)["input_ids"][: length - 2]
    return [{"text": tokenizer.decode(ids)} for _ in range(count)]


def resident(which: str) -> int:
    """A figure of this process's memory."""
    found = re.search(which + r":\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def measure(method: str, batch: int, length: int, words: dict[str, Any]) -> dict[str, Any]:
    """Predict, then run, in this process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tiny, tokenizer = nbpeft.load_tiny()
    tiny.to(device)
    warm = {"method": "lora" if method == "bitfit" else method} | words
    with quiet():
        nbpeft.finetune(
            "warm", nbpeft.load_data("pirate"), model=tiny, tokenizer=tokenizer, max_steps=2,
            eval=8, **warm,
        )  # fmt: skip
    del tiny
    model = build(device)
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    common: dict[str, Any] = {
        "model": model, "tokenizer": tokenizer, "method": method, "max_length": length,
        "batch_size": batch, "max_steps": 3, "per_device_eval_batch_size": batch,
        "eval": rows(tokenizer, batch, length),
    } | words  # fmt: skip
    data = rows(tokenizer, 2 * batch, length)
    predicted = nbpeft.fit("big", data, **common).traced
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
    nbpeft.finetune("big", data, fit="off", **common)
    now = torch.cuda.max_memory_allocated() if device == "cuda" else resident(PEAK)
    return {"method": method, "predicted": predicted.peak, "measured": now - before + held,
            "weights": held, "parts": vars(predicted)}  # fmt: skip


def apart(method: str, arguments: list[str]) -> dict[str, Any]:
    """The same in a process of its own."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, __file__, "--one", method, *arguments], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        return {"method": method, "error": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def row(found: dict[str, Any]) -> tuple[str, ...]:
    """One of the table."""
    if "error" in found:
        return found["method"], found["error"], "", "", ""
    off = found["predicted"] / found["measured"] - 1
    figures = (bytes_size(found[word]) for word in ("weights", "predicted", "measured"))
    return found["method"], *figures, f"{100 * off:+.1f}%"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--one")
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--words", type=json.loads, default={}, help="more settings, as JSON")
    asked = parser.parse_args()
    SHAPE["num_hidden_layers"] = asked.layers
    if asked.one:
        print(json.dumps(measure(asked.one, asked.batch, asked.length, asked.words)))
        return
    fitting = [m.name for m in methods if m.needs <= {"causal logits"}]
    given = ["--length", str(asked.length), "--batch", str(asked.batch)]
    given += ["--layers", str(asked.layers)]
    given += ["--words", json.dumps(asked.words)]
    found = []
    for method in asked.methods or fitting:
        found.append(apart(method, given))
        print("\t".join(row(found[-1])), flush=True)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    table = Table(
        title="peak memory of a run, predicted and measured",
        header=("method", "weights", "predicted", "measured", "off by"),
        rows=tuple(map(row, found)),
        align=("left", *("right",) * 4),
        notes=(f"{where}; batches of {asked.batch} rows of {asked.length} tokens",),
    )
    publish("fit", table, found)


if __name__ == "__main__":
    main()
