"""Distilling a context: the teacher's pass and the step that a user would write, beside nbpeft's.

usage: python benchmarks/distill.py [--dtype bfloat16|float32] [--rounds 3] [--rows 64]

A Llama of 27M parameters with random weights and a vocabulary of 32,000; LoRA of rank 16 on all
linear layers; prompts of about 20 tokens, answers of about 40, batches of 8; contexts of 50, 500
and 2,000 tokens. What a user would write: in every step the base, adapter off, reads context,
prompt and answer, padded, and makes all logits in fp32; the student reads prompt and answer,
padded; the loss is the forward KL over the whole vocabulary at the answers' tokens. Here: the
context is read once for all rows, batches are packed behind it, logits are made where they are
wanted and kept as the 64 largest log-probabilities and the rest's mass.

Both in one run, alternating; of each the median of rows/s and the peak of memory above what was
held before. Reading the context is counted in: it is read once for `--rows` rows. `off` is by how
much log-probabilities of the answers' tokens differ between the two, on average and at most.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from quantize import Peak
from results import publish
from sft import build
from torch.nn import functional

from nbpeft.rendering import Table, bytes_size, count
from nbpeft.seam.packing import NOT_TRAINED, Packed, Padded, Prefixed
from nbpeft.seam.prefix import prefixes, read
from nbpeft.seam.probe import Choice, choose

CONTEXTS, BATCH, RANK, TOP, LEARNING_RATE = (50, 500, 2000), 8, 16, 64, 2e-4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Row = dict[str, list[int]]


@dataclass
class Measured:
    """One contestant's runs."""

    rows_a_second: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """What all of them do."""

    model: Any
    """PEFT's, around the base."""
    choice: Choice
    """How the base, adapter off, scores batches."""
    context: list[int]
    rows: list[Row]
    """Prompts and answers; the answers are labelled."""


def drawn(rows: int, vocabulary: int) -> list[Row]:
    """Prompts and answers of random tokens."""
    draw = random.Random(0)
    made = []
    for _ in range(rows):
        prompt, answer = draw.randint(12, 28), draw.randint(20, 60)
        ids = [draw.randrange(2, vocabulary) for _ in range(prompt + answer)]
        made.append({"input_ids": ids, "labels": [NOT_TRAINED] * prompt + ids[prompt:]})
    return made


def batches(rows: list[Row]) -> list[list[Row]]:
    """In the order given."""
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def after(context: list[int], rows: list[Row]) -> list[Row]:
    """The rows with the context before each."""
    labels = [NOT_TRAINED] * len(context)
    return [
        {"input_ids": context + row["input_ids"], "labels": labels + row["labels"]} for row in rows
    ]


def here(batch: dict[str, Any]) -> dict[str, Any]:
    return {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def logs_of_all(model: Any, rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """(answer tokens, V) log-probabilities by the model's own forward, and the labels."""
    batch = here(Padded(0)(rows))
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).logits.float()
    return torch.log_softmax(logits.flatten(0, 1)[batch["scored"]], -1), batch["labels"]


def taught_by_hand(task: Task, rows: list[Row]) -> torch.Tensor:
    """The teacher's log-probabilities, (answer tokens, V)."""
    with torch.no_grad(), task.model.disable_adapter():
        return logs_of_all(task.model, after(task.context, rows))[0]


def pass_by_hand(task: Task) -> tuple[int, float, torch.Tensor]:
    """(rows, seconds, log-probabilities of the answers' tokens) of one batch."""
    rows = task.rows[:BATCH]
    began = time.perf_counter()
    logs = taught_by_hand(task, rows)
    wait()
    took = time.perf_counter() - began
    labels = [label for row in rows for label in row["labels"] if label != NOT_TRAINED]
    return len(rows), took, logs[torch.arange(len(labels)), labels]


def step_by_hand(task: Task) -> tuple[int, float, torch.Tensor]:
    """(rows, seconds, loss) of one batch, trained."""
    rows = task.rows[:BATCH]
    trained = [p for p in task.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    began = time.perf_counter()
    teacher = taught_by_hand(task, rows)
    student, _ = logs_of_all(task.model, rows)
    loss = functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    wait()
    return len(rows), time.perf_counter() - began, loss.detach().reshape(1)


def largest(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(n, 64 + 2): the largest log-probabilities, the rest's mass and the label's."""
    logs = torch.log_softmax(logits, -1)
    top = logs.topk(TOP).values
    rest = torch.log1p(-top.exp().sum(-1, keepdim=True).clamp(max=1 - 1e-7))
    return torch.cat([top, rest, logs.gather(-1, labels.unsqueeze(-1))], -1)


def pass_by_nbpeft(task: Task) -> tuple[int, float, torch.Tensor]:
    """As by hand, of all rows; the context is read first."""
    scorer = task.choice.scorer
    assert scorer is not None
    began, found = time.perf_counter(), []
    with torch.no_grad(), task.model.disable_adapter():
        prefix = read(task.model.get_base_model(), task.context)
        assert prefix is not None
        standing = prefix.standing()
        for rows in batches(task.rows):
            batch = here(Prefixed(len(prefix))(rows)) | {"past_key_values": standing}
            found.append(values(scorer, batch))
    wait()
    took = time.perf_counter() - began
    first = sum(label != NOT_TRAINED for row in task.rows[:BATCH] for label in row["labels"])
    return len(task.rows), took, torch.cat(found)[:first, -1]


def pass_packed(task: Task) -> tuple[int, float, torch.Tensor]:
    """Whole rows, packed, of one batch: what the prefix adds to that."""
    scorer, rows = task.choice.scorer, task.rows[:BATCH]
    assert scorer is not None
    began = time.perf_counter()
    with torch.no_grad(), task.model.disable_adapter():
        found = values(scorer, here(Packed()(after(task.context, rows))))
    wait()
    return len(rows), time.perf_counter() - began, found[:, -1]


def values(scorer: Any, batch: dict[str, Any]) -> torch.Tensor:
    """What is kept of the teacher at the answers' tokens."""
    given = ("input_ids", "position_ids", "past_key_values")
    with scorer.over(batch):
        hidden = scorer.head.body(
            **{name: batch[name] for name in given if name in batch}, use_cache=False
        ).last_hidden_state
        wanted = hidden.flatten(0, 1).index_select(0, batch["scored"])
        found: torch.Tensor = scorer.head.reduce(largest, wanted, batch["labels"])
    return found


def wait() -> None:
    """For the GPU."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


Contestant = Callable[[Task], tuple[int, float, torch.Tensor]]
CONTESTANTS: dict[str, Contestant] = {
    "teacher, by hand": pass_by_hand,
    "teacher, packed": pass_packed,
    "teacher, nbpeft": pass_by_nbpeft,
    "step, by hand": step_by_hand,
}


def of_context(task: Task, rounds: int) -> dict[str, Any]:
    """The figures of one context."""
    measured = {name: Measured() for name in CONTESTANTS}
    seen: dict[str, torch.Tensor] = {}
    for _ in range(rounds):
        for name, contestant in CONTESTANTS.items():
            peak = Peak(DEVICE)
            rows, took, seen[name] = contestant(task)
            measured[name].rows_a_second.append(rows / took)
            measured[name].peak_bytes.append(peak.above())
    apart = (seen["teacher, nbpeft"] - seen["teacher, by hand"]).abs()
    return {
        "context": len(task.context),
        "off": (float(apart.mean()), float(apart.max())),
        "measured": {name: asdict(one) for name, one in measured.items()},
    }


def lines(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """A line a contestant; ratios are to what is done by hand."""
    made = []
    for name, one in found["measured"].items():
        rate = statistics.median(one["rows_a_second"])
        base = found["measured"][name.partition(",")[0] + ", by hand"]
        ours = name == "teacher, nbpeft"
        made.append(
            (
                f"{found['context']:,}",
                name,
                f"{rate:,.2f}",
                f"{rate / statistics.median(base['rows_a_second']):.1f}",
                f"+{bytes_size(statistics.median(one['peak_bytes']))}",
                "{:.1g}, {:.1g}".format(*found["off"]) if ours else "",
            )
        )
    return made


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=64)
    given = parser.parse_args()
    base = build("27m", getattr(torch, given.dtype))
    vocabulary = base.config.vocab_size
    # The teacher's way is tried out before there is an adapter: it is the base that teaches.
    model = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear"))
    with model.disable_adapter():
        choice = choose(model, longest=None)
    assert prefixes(choice, contextlib.nullcontext, None), choice.why
    rows, draw, found = drawn(given.rows, vocabulary), random.Random(1), []
    for contestant in CONTESTANTS.values():  # the first calls make kernels for their shapes
        contestant(Task(model, choice, rows[0]["input_ids"], rows))
    for length in CONTEXTS:
        context = [draw.randrange(2, vocabulary) for _ in range(length)]
        found.append(of_context(Task(model, choice, context, rows), given.rounds))
    publish(
        "distill",
        Table(
            title=f"Distilling a context, {count(base.num_parameters())} parameters, {given.dtype}",
            header=("context", "", "rows/s", "ratio", "memory", "off"),
            rows=tuple(line for one in found for line in lines(one)),
            align=("right", "left", *("right",) * 4),
            notes=(f"the context is read once for {given.rows} rows",),
        ),
        found,
    )


if __name__ == "__main__":
    main()
