"""What a magic costs: a step of `%%finetune` beside one of a bare Python loop, and `import nbpeft`.

usage: python benchmarks/magic.py

A Llama so small that a step is next to nothing, so that what is around it shows: the trainer, the
callbacks, the live view. Each step's cost is the difference of a long and a short run over their
steps; what is left of the short one is the cell's own cost (reading, plan, mounting, the shelf).
The loop is PEFT's model with torch's AdamW on the same batches. In one run, alternating; medians.
Imports are of fresh processes.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import time
from contextlib import redirect_stdout
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell
from peft import LoraConfig, get_peft_model
from results import publish
from traitlets.config import Config
from transformers import LlamaConfig, LlamaForCausalLM

import nbpeft
from nbpeft.objectives import objectives
from nbpeft.quiet import quiet
from nbpeft.rendering import Table

SHORT, LONG, ROUNDS = 20, 220, 5
BATCH, STEP_MS = 4, 50
ROWS = [{"prompt": f"What is {i}?", "completion": f"It is {i} + {i}."} for i in range(64)]
MODULES = ("", "torch", "nbpeft")


def llama() -> LlamaForCausalLM:
    """Of one layer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def shell_with(tokenizer: Any) -> InteractiveShell:
    """A kernel's shell, as `%load_ext nbpeft` leaves it."""
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.run_line_magic("load_ext", "nbpeft")
    shell.run_line_magic("config", "NbPeft.samples = False")
    shell.user_ns |= {"model": llama(), "tokenizer": tokenizer, "rows": ROWS}
    return shell


def of_magic(shell: InteractiveShell, steps: int) -> float:
    """Seconds of a cell."""
    line = f"x --data rows --eval 0 --batch-size {BATCH} --max-steps {steps} --max-length 64"
    began = time.perf_counter()
    with redirect_stdout(io.StringIO()):
        shell.run_cell_magic("finetune", line, "rank: 4\n")
    return time.perf_counter() - began


def of_loop(batches: list[dict[str, torch.Tensor]], steps: int) -> float:
    """Seconds of the same steps by hand, the model's setting-up apart."""
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    with quiet():
        model = get_peft_model(llama(), config).train()
    own = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=2e-4)
    began = time.perf_counter()
    for step in range(steps):
        loss = model(**batches[step % len(batches)]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # to look at, as any loop does
    return time.perf_counter() - began


def batches_of(tokenizer: Any) -> list[dict[str, torch.Tensor]]:
    """The rows as the trainer gets them."""
    from nbpeft.data import read_mix

    sft = objectives.get("sft")
    rows = sft.rows(
        read_mix(ROWS, {}), tokenizer, columns=None, eval=0, max_length=64, loss_on="answers"
    ).train
    collate = sft.batch(tokenizer)
    return [collate([rows[i + j] for j in range(BATCH)]) for i in range(0, len(rows), BATCH)]


def import_ms(module: str) -> float:
    """Milliseconds of a process that imports it, the median."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}" if module else ""], check=True)  # noqa: S603
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.parse_args()
    _, tokenizer = nbpeft.load_tiny()
    shell, batches = shell_with(tokenizer), batches_of(tokenizer)
    of_magic(shell, SHORT), of_loop(batches, SHORT)  # imports, first touches
    cells: list[float] = []
    loops: list[float] = []
    own: list[float] = []
    for _ in range(ROUNDS):
        short, long = of_magic(shell, SHORT), of_magic(shell, LONG)
        cells.append(1000 * (long - short) / (LONG - SHORT))
        own.append(short - SHORT * cells[-1] / 1000)
        few, many = of_loop(batches, SHORT), of_loop(batches, LONG)
        loops.append(1000 * (many - few) / (LONG - SHORT))
    cell, loop, call = map(statistics.median, (cells, loops, own))
    share = (cell - loop) / STEP_MS
    imports = {module or "nothing": import_ms(module) for module in MODULES}
    publish(
        "magic",
        Table(
            title="what a magic costs",
            header=("", ""),
            rows=(
                ("a step of %%finetune", f"{cell:.2f} ms"),
                ("a step of a bare loop", f"{loop:.2f} ms"),
                (f"more, of a step of {STEP_MS} ms", f"{share:.1%}"),
                ("a cell beside its steps", f"{call:.2f} s"),
                *((f"a process that imports {m}", f"{ms:.0f} ms") for m, ms in imports.items()),
            ),
            align=("left", "right"),
        ),
        {"cell_step_ms": cell, "loop_step_ms": loop, "share": share, "call_s": call} | imports,
    )


if __name__ == "__main__":
    main()
