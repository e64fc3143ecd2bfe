"""DPO with LoRA: nbpeft beside TRL's DPOTrainer as it comes, and with the settings that help it.

usage: python benchmarks/dpo.py [--shape 27m|0.6b|1b] [--dtype bfloat16|float32] [--rounds 3]
       [--pairs 64] [--epochs 1] [--prompt 60]

A model with random weights and pairs of answers to one prompt, of random words and mixed length.
Each contestant trains the same pairs with the same LoRA (rank 16, all linear layers), optimizer and
batch size, one after the other and that several times over. Of each: the median of pairs/s, of
which the reference's pass is a part, the peak of memory above what was held before, and the mean
loss, which must be about the same for all.

Everything goes to build/bench/dpo-SHAPE.json too, with versions and hardware.
"""

from __future__ import annotations

import argparse
import gc
import io
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from quantize import Peak
from results import publish
from sft import CUDA, LEARNING_RATE, MAX_LENGTH, RANK, SHAPES, Measured, build
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

import nbpeft
from nbpeft.config import settings
from nbpeft.quiet import quiet
from nbpeft.rendering import Table, bytes_size

BATCH = 8


@dataclass(frozen=True)
class Task:
    """What all of them train."""

    model: Any
    tokenizer: Any
    rows: list[dict[str, str]]
    epochs: int


def preferences(tokenizer: Any, rows: int, prompt: int) -> list[dict[str, str]]:
    """Prompts of about so many random words, and two answers to each, of about 40."""
    draw = random.Random(0)
    words = sorted(t[1:] for t in tokenizer.get_vocab() if t.startswith("Ġ") and t[1:].isalpha())

    def text(median: float) -> str:
        length = min(480, max(4, round(draw.lognormvariate(0, 0.6) * median)))
        return " ".join(draw.choices(words, k=length))

    return [
        {"prompt": text(prompt), "chosen": " " + text(40), "rejected": " " + text(40)}
        for _ in range(rows)
    ]


def with_trl(task: Task, **fields: Any) -> tuple[float, float]:
    """(seconds, mean loss) of TRL's DPOTrainer; the reference's pass is in the seconds."""
    config = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with tempfile.TemporaryDirectory() as folder, quiet():
        chosen: dict[str, Any] = {
            "num_train_epochs": task.epochs, "per_device_train_batch_size": BATCH,
            "learning_rate": LEARNING_RATE, "max_length": MAX_LENGTH, "logging_steps": 1,
            "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": not CUDA,
            "dataloader_pin_memory": CUDA,
        }  # fmt: skip
        arguments = DPOConfig(output_dir=folder, **chosen | fields)
        torch.manual_seed(42)
        model = get_peft_model(task.model, config)
        trainer = DPOTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_list(task.rows),
            processing_class=task.tokenizer,
        )  # fmt: skip
        model.delete_adapter("ref")  # a fresh adapter is compared with the base
        trainer.remove_callback(PrinterCallback)
        began = time.perf_counter()
        trainer.train()
        took = time.perf_counter() - began
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        model.unload()
        for module in task.model.modules():  # TRL leaves it on, for whoever comes next
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = False
    return took, statistics.mean(losses)


def with_nbpeft(task: Task) -> tuple[float, float]:
    """(seconds, mean loss) of nbpeft; the trial of the model's way is in the seconds."""
    with redirect_stdout(io.StringIO()):
        run = nbpeft.finetune(
            "bench", task.rows, model=task.model, tokenizer=task.tokenizer, objective="dpo",
            rank=RANK, alpha=2 * RANK, target_modules="all-linear", dropout=0.0,
            epochs=task.epochs, batch_size=BATCH, learning_rate=LEARNING_RATE,
            lr_scheduler_type="linear", warmup_steps=0, max_length=MAX_LENGTH, eval=0,
        )  # fmt: skip
    assert run.record is not None
    return run.metrics["seconds"], statistics.mean(loss for _, loss in run.record.losses)


CONTESTANTS: dict[str, Callable[[Task], tuple[float, float]]] = {
    "nbpeft": with_nbpeft,
    "TRL, defaults": with_trl,
    "TRL, no checkpointing": lambda task: with_trl(task, gradient_checkpointing=False),
    "TRL, no checkpointing, no autocast": lambda task: with_trl(
        task, gradient_checkpointing=False, bf16=False
    ),
}
"""nbpeft, TRL as it comes, and TRL with the settings that helped most here."""


def table_of(measured: dict[str, Measured], pairs: int, title: str) -> Table:
    """One row a contestant, the first one's rate as the measure of the others."""
    rates = {name: pairs / statistics.median(m.seconds) for name, m in measured.items()}
    first = next(iter(rates.values()))
    return Table(
        title=title,
        header=("", "pairs/s", "nbpeft is", "peak memory", "mean loss"),
        rows=tuple(
            (
                name,
                f"{rates[name]:.2f}",
                f"{first / rates[name]:.1f}x",
                f"+{bytes_size(max(m.peak_bytes))}",
                f"{statistics.mean(m.loss):.4f}",
            )
            for name, m in measured.items()
        ),
        align=("left", "right", "right", "right", "right"),
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="27m")
    parser.add_argument("--dtype", default="bfloat16" if CUDA else "float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=60)
    asked = parser.parse_args()
    settings().samples = False
    _, tokenizer = nbpeft.load_tiny()
    tokenizer.chat_template = None
    model = build(asked.shape, getattr(torch, asked.dtype))
    rows = preferences(tokenizer, asked.pairs, asked.prompt)
    task = Task(model, tokenizer, rows, asked.epochs)
    measured = {name: Measured() for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as folder:
        settings().adapters_dir = folder
        for _ in range(asked.rounds):
            for name, contestant in CONTESTANTS.items():
                gc.collect()
                peak = Peak("cuda" if CUDA else "cpu")
                seconds, loss = contestant(task)
                measured[name].seconds.append(seconds)
                measured[name].peak_bytes.append(peak.above())
                measured[name].loss.append(loss)
    title = f"DPO with LoRA, {asked.shape}, {asked.pairs} pairs, epochs: {asked.epochs}"
    table = table_of(measured, asked.pairs * asked.epochs, title)
    publish(f"dpo-{asked.shape}", table, {name: asdict(m) for name, m in measured.items()})


if __name__ == "__main__":
    main()
