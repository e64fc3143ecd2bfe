"""Makes the embedded models: `python -m nbpeft.tiny.pretrain [--out DIR] [--steps N]`.

Text from the generator → a tokenizer → the default model and the student, each trained on one
core → weights, data sets and scores. The same machine gives the same hash; another gives the same
scores within 2 points.
"""

from __future__ import annotations

import os

# Read when tokenizers is imported: its own threads would take the core of the other model.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import hashlib
import itertools
import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from nbpeft.tiny.score import scores
from nbpeft.tiny.text import corpus, rows

VOCAB = 1024
TOKENS = 2048  # a step reads this many, in 16 rows of 128 or 4 rows of 512
SHORT, LONG = 128, 512  # short rows hold most documents, and cost less attention
PAD, END = "<|pad|>", "<|end|>"
SPECIAL = [PAD, END, "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{%- for m in messages %}"
    "{%- if m['role'] not in ['system', 'user', 'assistant'] %}"
    "{{- raise_exception('Roles are system, user and assistant, not ' ~ m['role']) }}"
    "{%- endif %}"
    "{{- '<|' ~ m['role'] ~ '|>' }}"
    "{%- if m['role'] == 'assistant' %}"
    "{%- generation %}{{- m['content'] ~ '<|end|>' }}{%- endgeneration %}"
    "{%- else %}{{- m['content'] ~ '<|end|>' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)


@dataclass(frozen=True)
class Size:
    """Width, depth and training length of one of the models."""

    folder: str
    width: int
    layers: int
    steps: int
    seed: int


SIZES = (Size("default", 128, 6, 2600, 1), Size("student", 96, 4, 2200, 2))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 1,024 tokens with single digits, trained on 20,000 documents."""
    docs = itertools.islice(corpus.documents(seed=0, words=[]), 20_000)
    texts = (doc if isinstance(doc, str) else "\n".join(m["content"] for m in doc) for doc in docs)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCAB,
            special_tokens=SPECIAL,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        model_max_length=2048,
        additional_special_tokens=SPECIAL[2:],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


Example = tuple[list[int], list[int]]
"""A document's ids and labels."""


def examples(seed: int, tokenizer: PreTrainedTokenizerFast) -> Iterator[Example]:
    """Documents as ids and labels: what users and system prompts say isn't learned (-100)."""
    words = [tokenizer.decode([i]) for i in range(len(SPECIAL), VOCAB)]
    docs = corpus.documents(seed, [word for word in words if "\ufffd" not in word])
    user, assistant = tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])
    while chunk := list(itertools.islice(docs, 100)):
        texts = [
            doc + END
            if isinstance(doc, str)
            else "".join(f"<|{m['role']}|>{m['content']}{END}" for m in doc)
            for doc in chunk
        ]
        for doc, ids in zip(chunk, tokenizer(texts)["input_ids"], strict=True):
            labels, learned = [], isinstance(doc, str)
            for token in ids:
                learned = learned and token != user
                labels.append(token if learned else -100)
                learned = learned or token == assistant
            yield ids, labels


def packed(seed: int, tokenizer: PreTrainedTokenizerFast) -> Iterator[torch.Tensor]:
    """Batches of ids, labels and document numbers, [3, 16, 128], at times [3, 4, 512].

    A row holds whole documents only; one longer than 512 tokens is cut.
    """
    pools: dict[int, list[Example]] = {SHORT: [], LONG: []}
    for ids, labels in examples(seed, tokenizer):
        length = SHORT if len(ids) <= SHORT else LONG
        pools[length].append((ids[:LONG], labels[:LONG]))
        # Enough to choose from, so that a row is filled to its end.
        if sum(len(ids) for ids, _ in pools[length]) > 2 * TOKENS:
            yield torch.stack([pack_row(pools[length], length) for _ in range(TOKENS // length)], 1)


def pack_row(pool: list[Example], length: int) -> torch.Tensor:
    """Takes documents out of the pool, each the first that still fits, as a row [3, length]."""
    row = torch.full((3, length), -100)
    row[0] = 0  # <|pad|>
    used = number = at = 0
    while at < len(pool):
        ids, labels = pool[at]
        if used + len(ids) > length:
            at += 1
            continue
        del pool[at]
        row[:2, used : used + len(ids)] = torch.tensor([ids, labels])
        row[1, used] = -100  # nothing in the document tells its first token
        row[2, used : used + len(ids)] = number
        used, number = used + len(ids), number + 1
    return row


def make_model(size: Size, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A fresh Llama of this size: four heads, feed-forward of three widths, tied embeddings."""
    torch.manual_seed(size.seed)
    ends = {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=size.width,
            intermediate_size=3 * size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            **ends,
        )
    )
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=128, **ends)
    return model


def loss_of(model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the labelled tokens; a token sees its own document only."""
    ids, labels, number = batch
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    mask = (number[:, :, None] == number[:, None, :]) & causal
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, attention_mask=mask[:, None], use_cache=False).logits
    return cross_entropy(logits[:, :-1].float().reshape(-1, VOCAB), labels[:, 1:].reshape(-1))


def train(size: Size, tokenizer: PreTrainedTokenizerFast, steps: int) -> LlamaForCausalLM:
    """Trains one model: Muon for the matrices, AdamW for the rest, the rate falling to zero.

    Of one thread, the sums don't depend on how many cores there are.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = make_model(size, tokenizer).train()
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = (
        torch.optim.Muon(inner, lr=0.02, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01),
    )

    def rate(step: int) -> float:
        return min((step + 1) / 50, 1.0, (steps - step) / (0.6 * steps))

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, rate) for o in optimizers]
    started, batches, seen = time.monotonic(), packed(100 + size.seed, tokenizer), 0.0
    for step in range(steps):
        loss = loss_of(model, next(batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        for part in (*optimizers, *schedules):
            part.step()
        model.zero_grad()
        seen = loss.item() if step == 0 else 0.98 * seen + 0.02 * loss.item()
        if step % 100 == 99 or step == steps - 1:
            print(
                f"{size.folder}: step {step + 1}/{steps}  loss {seen:.3f}  "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )
    return model.to(torch.bfloat16).eval()


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_data(out: Path) -> None:
    """Writes each data set as out/data/NAME.jsonl."""
    (out / "data").mkdir(parents=True, exist_ok=True)
    for name in rows.DATA:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows.rows(name)]
        (out / "data" / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make(size: Size, out: Path, steps: int | None, items: int) -> dict[str, float]:
    """Trains one model, writes it with its tokenizer to out/FOLDER, and gives its scores."""
    logging.disable_progress_bar()
    tokenizer = make_tokenizer()
    model = train(size, tokenizer, steps or size.steps)
    folder = out / size.folder
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # as readable as the files beside it
    result = scores(model.float(), tokenizer, items) if items else {}
    print(f"{size.folder}: {result}", flush=True)
    return result


def main(arguments: list[str] | None = None) -> None:
    """Makes everything, or with `--steps` a short version of it."""
    parser = argparse.ArgumentParser(prog="python -m nbpeft.tiny.pretrain", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to fill")
    parser.add_argument("--steps", type=int, help="training steps of each model, for a trial")
    parser.add_argument("--items", type=int, default=200, help="test items a skill; 0 for none")
    options = parser.parse_args(arguments)

    write_data(options.out)
    with ProcessPoolExecutor(len(SIZES), multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(make, s, options.out, options.steps, options.items) for s in SIZES]
        table = {size.folder: job.result() for size, job in zip(SIZES, jobs, strict=True)}
    if options.items:
        text = json.dumps({"items": options.items, **table}, indent=2)
        (options.out / "scores.json").write_text(text + "\n", encoding="utf-8")
    for size in SIZES:
        print(f"{sha256(options.out / size.folder / 'model.safetensors')}  {size.folder}")


if __name__ == "__main__":
    main()
