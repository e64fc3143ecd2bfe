"""Distilling a context: what a user would write, beside a whole run of nbpeft's.

usage: python benchmarks/distill.py [--dtype bfloat16|float32] [--rounds 3] [--rows 128]

A Llama of 27M parameters with random weights and a vocabulary of 32,000; LoRA of rank 16 on all
linear layers; prompts of about 20 tokens, answers of about 40, batches of 8; contexts of 50, 500
and 2,000 tokens. What a user would write: in every step the base, adapter off, reads context,
prompt and answer, padded, and makes all logits in fp32; the student reads prompt and answer,
padded; the loss is the forward KL over the whole vocabulary at the answers' tokens. Beside it
`%%distill` itself, from the teacher's first token to the last step, over one epoch and over three:
the context is read once, targets are the 64 likeliest tokens and the rest, kept on disk. Answers
are drawn at random on both sides: writing them isn't measured.

Alternating, several rounds; of each the median of rows/s. Rows that come in three epochs count
three times: by hand, each time costs the same. Everything goes to build/bench/distill.json too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import tempfile
import time
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from results import publish
from sft import build
from torch.nn import functional

import nbpeft
import nbpeft.views
from nbpeft.config import settings
from nbpeft.events import Listener
from nbpeft.objectives._teaching import Writing
from nbpeft.rendering import Table, count
from nbpeft.seam.packing import NOT_TRAINED, Padded

CONTEXTS, EPOCHS, BATCH, RANK, LEARNING_RATE = (50, 500, 2000), (1, 3), 8, 16, 2e-4
WINDOW, STEPS = 4096, 3
Row = dict[str, list[int]]


def words(tokenizer: Any, draw: random.Random, tokens: int) -> str:
    """A text of about so many tokens."""
    known = sorted(t[1:] for t in tokenizer.get_vocab() if t.startswith("Ġ") and t[1:].isalpha())
    return " ".join(draw.choices(known, k=tokens))


def drawn_answers(vocabulary: int) -> Any:
    """In place of a teacher that writes: random tokens."""

    def written(self: Any, model: Any, places: Any, prompts: Any, prefix: Any = None) -> Any:
        return [answer(place[0], vocabulary) for place in places]

    return written


def answer(row: int, vocabulary: int) -> list[int]:
    draw = random.Random(row)
    return [draw.randrange(2, vocabulary) for _ in range(draw.randint(20, 60))]


def by_hand(base: Any, tokenizer: Any, prompts: list[str], context: str) -> float:
    """Rows/s of a few steps as a user would write them."""
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")
    model = get_peft_model(base, config)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    rows = [rows_of(tokenizer, number, prompt, context) for number, prompt in enumerate(prompts)]
    times = []
    for step in range(STEPS + 1):
        batch = rows[step * BATCH : (step + 1) * BATCH]
        began = time.perf_counter()
        with torch.no_grad(), model.disable_adapter():
            teacher = logs_of(model, [taught for _, taught in batch])
        student = logs_of(model, [own for own, _ in batch])
        functional.kl_div(student, teacher, log_target=True, reduction="batchmean").backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    model.unload()
    return BATCH / statistics.median(times[1:])  # the first makes kernels for its shapes


def rows_of(tokenizer: Any, number: int, prompt: str, context: str) -> tuple[Row, Row]:
    """What the student reads, and what the teacher does."""
    ids = answer(number, 32_000)
    asked = [{"role": "user", "content": prompt}]
    made = []
    for chat in (asked, [{"role": "system", "content": context}, *asked]):
        before = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        made.append({"input_ids": before + ids, "labels": [NOT_TRAINED] * len(before) + ids})
    return made[0], made[1]


def logs_of(model: Any, rows: list[Row]) -> torch.Tensor:
    """(answer tokens, V) log-probabilities by the model's own forward, all logits in fp32."""
    batch = Padded(0)(rows)
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).logits.float()
    return torch.log_softmax(logits.flatten(0, 1)[batch["scored"]], -1)


def by_nbpeft(
    base: Any, tokenizer: Any, prompts: list[str], context: str, epochs: int
) -> tuple[float, float]:
    """Rows/s of a whole run, and seconds of it that the teacher took."""
    run = nbpeft.distill(
        "bench", context, prompts=prompts, model=base, tokenizer=tokenizer, eval=0, epochs=epochs,
        rank=RANK, batch_size=BATCH, max_length=128, max_completion_length=64, fit="off",
        learning_rate=LEARNING_RATE,
    )  # fmt: skip
    assert run.record is not None
    teacher = run.record.findings["seconds"]
    with contextlib.suppress(FileNotFoundError):
        for path in (run.record.path.parent / "targets").glob("*.json*"):  # type: ignore[union-attr]
            path.unlink()  # so that nothing is found again
    return len(prompts) * epochs / run.metrics["seconds"], teacher


def silent() -> Listener:
    """No view: what is shown isn't measured."""
    return lambda _: None


def of_context(base: Any, tokenizer: Any, length: int, rows: int, rounds: int) -> dict[str, Any]:
    """The figures of one context."""
    draw = random.Random(0)
    context = words(tokenizer, draw, length)
    prompts = [words(tokenizer, draw, draw.randint(8, 24)) for _ in range(rows)]
    found: dict[str, list[float]] = {"by hand": [], **{f"epochs {n}": [] for n in EPOCHS}}
    teachers = []
    for _ in range(rounds):
        found["by hand"].append(by_hand(base, tokenizer, prompts, context))
        for epochs in EPOCHS:
            rate, teacher = by_nbpeft(base, tokenizer, prompts, context, epochs)
            found[f"epochs {epochs}"].append(rate)
            teachers.append(teacher)
    return {"context": length, "rows_a_second": found, "teacher_seconds": teachers}


def line(found: dict[str, Any]) -> tuple[str, ...]:
    rates = {name: statistics.median(some) for name, some in found["rows_a_second"].items()}
    hand = rates.pop("by hand")
    cells = [f"{rate:,.1f} ({rate / hand:.1f} x)" for rate in rates.values()]
    return (count(found["context"]), f"{hand:,.2f}", *cells)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=128)
    given = parser.parse_args()
    base = build("27m", getattr(torch, given.dtype))
    base.config.max_position_embeddings = WINDOW
    _, tokenizer = nbpeft.load_tiny()
    Writing.written = drawn_answers(base.config.vocab_size)  # type: ignore[method-assign]
    nbpeft.views.choose = silent
    settings().samples = False  # a prompt answered before and after is for people
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = [
            of_context(base, tokenizer, length, given.rows, given.rounds) for length in CONTEXTS
        ]
    publish(
        "distill",
        Table(
            title=f"Distilling a context, {count(base.num_parameters())} parameters, {given.dtype}",
            header=("context", "by hand, rows/s", *(f"{n} epochs" for n in EPOCHS)),
            rows=tuple(line(one) for one in found),
            align=("right",) * (2 + len(EPOCHS)),
            notes=(f"{given.rows} rows; ratios are to what is done by hand",),
        ),
        found,
    )


if __name__ == "__main__":
    main()
