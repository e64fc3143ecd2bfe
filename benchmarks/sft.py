"""SFT with LoRA: nbpeft beside what a user would write by hand or pick instead.

usage: python benchmarks/sft.py [--shape 27m|0.6b|1b] [--dtype bfloat16|float32] [--rounds 3]

A model with random weights and rows of mixed length, as instructions have them: long-tailed, made
from a seed. Each of the contestants trains one epoch of the same rows with the same LoRA (rank 16,
all linear layers), optimizer and batch size, one after the other and that several times over;
between them the peak of a plain matrix product is measured. Of each: the median of tokens/s (not of
padding), the peak of memory above what was held before, the share of the matmul peak, and the
mean loss of the epoch. Floating-point operations are those that the task needs, counted alike for
all: 4 x frozen parameters x tokens + 4 x vocabulary x width x trained tokens + attention in rows.

Everything goes to build/bench/sft-SHAPE.json too, with versions and hardware.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import io
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from quantize import Peak
from results import publish
from transformers import AutoModelForCausalLM, LlamaConfig, PrinterCallback, Qwen3Config
from trl import SFTConfig, SFTTrainer

import nbpeft
from nbpeft import data
from nbpeft.config import settings
from nbpeft.quiet import quiet
from nbpeft.rendering import Table, bytes_size, count

SHAPES: dict[str, Any] = {
    "27m": lambda: LlamaConfig(
        hidden_size=384, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6,
        num_key_value_heads=6, vocab_size=32_000, tie_word_embeddings=True,
    ),
    "0.6b": lambda: Qwen3Config(
        hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, vocab_size=151_936, tie_word_embeddings=True,
    ),
    "1b": lambda: LlamaConfig(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=128_256, tie_word_embeddings=True,
    ),
}  # fmt: skip
"""A small one for CPUs, and those of Qwen3-0.6B and Llama-3.2-1B."""
BATCH, RANK, LEARNING_RATE, MAX_LENGTH = 8, 16, 2e-4, 1024
CUDA = torch.cuda.is_available()


@dataclass
class Measured:
    """One contestant's runs."""

    seconds: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """What all of them train."""

    model: Any
    tokenizer: Any
    rows: list[dict[str, str]]
    encoded: Any
    """The rows as token ids and labels, as nbpeft has them."""


def instructions(tokenizer: Any, rows: int) -> list[dict[str, str]]:
    """Prompts and answers of random words; of most a few dozen tokens, of some hundreds."""
    draw = random.Random(0)
    words = [t[1:] for t in tokenizer.get_vocab() if t.startswith("Ġ") and t[1:].isalpha()]

    def text(median: float) -> str:
        length = min(480, max(4, round(draw.lognormvariate(0, 0.9) * median)))
        return " ".join(draw.choices(sorted(words), k=length))

    return [{"prompt": text(30), "completion": " " + text(40)} for _ in range(rows)]


def build(shape: str, dtype: torch.dtype) -> Any:
    """The model of that shape, random."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[shape](), dtype=dtype)
    return model.to("cuda" if CUDA else "cpu").eval()


def with_trl(task: Task, **fields: Any) -> tuple[float, float]:
    """(seconds, mean loss) of TRL's SFTTrainer."""
    config = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with tempfile.TemporaryDirectory() as folder, quiet():
        chosen: dict[str, Any] = {
            "num_train_epochs": 1, "per_device_train_batch_size": BATCH,
            "learning_rate": LEARNING_RATE, "max_length": MAX_LENGTH, "logging_steps": 1,
            "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": not CUDA,
            "dataloader_pin_memory": CUDA, "dataset_kwargs": {"skip_prepare_dataset": True},
        }  # fmt: skip
        arguments = SFTConfig(output_dir=folder, **chosen | fields)
        torch.manual_seed(42)
        model = get_peft_model(task.model, config)
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=task.encoded,
            processing_class=task.tokenizer,
        )  # fmt: skip
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


def packed_by_trl(task: Task, **fields: Any) -> tuple[float, float]:
    """TRL with rows joined to sequences that hold a batch's tokens.

    Without flash attention rows see what stands before them, so that it is another task; its loss
    is shown. The same tokens are trained, in about as many steps.
    """
    from trl import pack_dataset

    rows = task.encoded.select_columns(["input_ids", "labels"])
    length = round(sum(map(len, rows["input_ids"])) / len(rows) * BATCH)
    sequences = pack_dataset(rows, length, "wrapped")
    return with_trl(
        replace(task, encoded=sequences), per_device_train_batch_size=1, max_length=length, **fields
    )


def with_nbpeft(task: Task) -> tuple[float, float]:
    """(seconds, mean loss) of nbpeft; the trial of the model's way is in the seconds."""
    with redirect_stdout(io.StringIO()):
        run = nbpeft.finetune(
            "bench", task.rows, model=task.model, tokenizer=task.tokenizer, method="lora",
            rank=RANK, alpha=2 * RANK, target_modules="all-linear", dropout=0.0, epochs=1,
            batch_size=BATCH, learning_rate=LEARNING_RATE, lr_scheduler_type="linear",
            warmup_steps=0, max_length=MAX_LENGTH, eval=0,
        )  # fmt: skip
    assert run.record is not None
    return run.metrics["seconds"], statistics.mean(loss for _, loss in run.record.losses)


def contestants() -> dict[str, Callable[[Task], tuple[float, float]]]:
    """nbpeft, TRL as it comes, and TRL with the settings that helped most here."""
    tuned: dict[str, Any] = {
        "gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"
    }  # fmt: skip
    found: dict[str, Callable[[Task], tuple[float, float]]] = {
        "nbpeft": with_nbpeft,
        "TRL, defaults": with_trl,
        "TRL, tuned": lambda task: with_trl(task, **tuned),
        "TRL, tuned, no autocast": lambda task: with_trl(task, bf16=False, **tuned),
        "TRL, packed across rows": lambda task: packed_by_trl(
            task, bf16=False, gradient_checkpointing=False
        ),
    }
    if CUDA and importlib.util.find_spec("liger_kernel"):
        found["TRL, tuned, Liger"] = lambda task: with_trl(task, use_liger_kernel=True, **tuned)
    return found


def matmul_peak(dtype: torch.dtype) -> float:
    """FLOP/s of a square product, the best of several."""
    size, device = (8192, "cuda") if CUDA else (2048, "cpu")
    one = torch.randn(size, size, dtype=dtype, device=device)
    best = 0.0
    for _ in range(8):
        began = time.perf_counter()
        one @ one
        if CUDA:
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def needed(model: Any, encoded: Any) -> dict[str, float]:
    """Tokens, trained tokens, and the floating-point operations of an epoch."""
    config = model.config
    lengths = [len(row["input_ids"]) for row in encoded]
    trained = sum(label != -100 for row in encoded for label in row["labels"])
    embedding = model.get_input_embeddings().weight
    frozen = model.num_parameters() - embedding.numel()
    width = config.num_attention_heads * getattr(
        config, "head_dim", config.hidden_size // config.num_attention_heads
    )
    # Two products over half of the pairs forward, and four backward.
    attention = sum(6 * length**2 * width for length in lengths) * config.num_hidden_layers
    operations = 4 * frozen * sum(lengths) + 4 * embedding.numel() * trained + attention
    return {"tokens": sum(lengths), "trained": trained, "operations": operations}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="1b" if CUDA else "27m")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--only", nargs="*", help="names of contestants")
    given = parser.parse_args()
    settings().samples = False
    _, tokenizer = nbpeft.load_tiny()
    rows = instructions(tokenizer, given.rows)
    encoded = data.tokenize(data.read(rows, {}), tokenizer, eval=0, max_length=MAX_LENGTH).train
    task = Task(build(given.shape, getattr(torch, given.dtype)), tokenizer, rows, encoded)
    entered = {n: c for n, c in contestants().items() if not given.only or n in given.only}
    measured, peaks = {name: Measured() for name in entered}, []
    with tempfile.TemporaryDirectory() as folder:
        settings().adapters_dir = folder
        for _ in range(given.rounds):
            for name, contestant in entered.items():
                peaks.append(matmul_peak(torch.bfloat16))
                peak = Peak("cuda" if CUDA else "cpu")
                took, loss = contestant(task)
                measured[name].seconds.append(took)
                measured[name].peak_bytes.append(peak.above())
                measured[name].loss.append(loss)
                gc.collect()
    report(given, task, measured, statistics.median(peaks))


def report(
    given: argparse.Namespace, task: Task, measured: dict[str, Measured], peak: float
) -> None:
    """The table, and the file."""
    work = needed(task.model, task.encoded)
    lines = []
    for name, one in measured.items():
        took = statistics.median(one.seconds)
        lines.append(
            (
                name,
                f"{work['tokens'] / took:,.0f}",
                f"{min(one.seconds):.1f}-{max(one.seconds):.1f}",
                f"{work['operations'] / took / peak:.0%}",
                f"+{bytes_size(statistics.median(one.peak_bytes))}",
                f"{statistics.median(one.loss):.4f}",
            )
        )
    title = f"SFT with LoRA, {count(task.model.num_parameters())} parameters in {given.dtype}"
    publish(
        f"sft-{given.shape}",
        Table(
            title=f"{title}, {work['tokens']:,.0f} tokens ({work['trained']:,.0f} trained)",
            header=("", "tokens/s", "seconds", "of peak", "memory", "loss"),
            rows=tuple(lines),
            align=("left", *("right",) * 5),
            notes=(f"{peak / 1e9:,.0f} GFLOP/s at most",),
        ),
        {
            "dtype": given.dtype,
            "load": os.getloadavg(),
            "matmul_peak": peak,
            **work,
            "measured": {name: asdict(one) for name, one in measured.items()},
        },
    )


if __name__ == "__main__":
    main()
