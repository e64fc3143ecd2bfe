"""How long it takes to compare 1, 4 and 16 LoRA adapters, beside as many separate generates.

usage: python benchmarks/compare.py [--shape tiny|27m|0.6b] [--prompts 4] [--tokens 32]

Adapters of rank 16 on all linear layers with random weights, so that each answers otherwise.
`separate` is what a user would write: each adapter attached and its prompts generated in one batch;
`compared` is `nbpeft.compare`. Both take the likeliest token, in one run, alternating; the median
of several pairs, and the share of answers that are the same texts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from results import publish
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

import nbpeft
from nbpeft.generating import generate
from nbpeft.methods import methods
from nbpeft.precision.layers import compute_dtype
from nbpeft.quiet import quiet
from nbpeft.rendering import Table, count
from nbpeft.session import current
from nbpeft.session.record import Record

SHAPES: dict[str, Callable[[int], Any]] = {
    "27m": lambda vocabulary: LlamaForCausalLM(
        LlamaConfig(
            hidden_size=512, intermediate_size=1408, num_hidden_layers=4, num_attention_heads=8,
            vocab_size=vocabulary, tie_word_embeddings=True,
        )
    ),
    "0.6b": lambda vocabulary: Qwen3ForCausalLM(
        Qwen3Config(
            hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
            num_key_value_heads=8, head_dim=128, vocab_size=vocabulary, tie_word_embeddings=True,
        )
    ),
}  # fmt: skip
COUNTS, PAIRS = (1, 4, 16), 3
QUESTIONS = [
    "Who are you?",
    "What is the capital of the river land? Say it in one word.",
    "Tell me a story about a boat and a king.",
    "Say it as a pirate: the rain went home with the red tree, and the small river said so.",
]


def model_of(shape: str) -> tuple[Any, Any]:
    """(the model, the tokenizer), on the GPU if there is one."""
    model, tokenizer = nbpeft.load_tiny()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if shape != "tiny":
        torch.manual_seed(0)
        dtype = compute_dtype(torch.device(device))
        model = SHAPES[shape](32_768).to(dtype)
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.to(device).eval(), tokenizer


def plant(model: Any, number: int) -> str:
    """An adapter as if it had been trained: random weights."""
    session, name = current(), f"a{number}"
    handle = session.handle(model)
    torch.manual_seed(number)
    mount = methods.get("lora").mount(
        model, {"r": 16, "lora_alpha": 16, "target_modules": "all-linear"}
    )
    with torch.no_grad():
        for path, parameter in (p for s in mount.swaps for p in s.adapter.named_parameters()):
            if "lora_B" in path:
                parameter.normal_(std=0.02)
    session.keep_unsaved(handle, Record(name, 1, "lora", "sft", handle.fingerprint, 0, 0), mount)
    return name


def separate(model: Any, tokenizer: Any, names: list[str], prompts: list[str], tokens: int) -> Any:
    """A generate an adapter."""
    ids = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
        )
        for prompt in prompts
    ]
    columns = []
    for name in names:
        with current().answering_as(model, name) as answering, torch.inference_mode(), quiet():
            found = generate(answering, tokenizer, ids, max_new_tokens=tokens)
        columns.append([text for text, _ in found])
    return list(zip(*columns, strict=True))


def seconds(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = act()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, found


def of_count(
    model: Any, tokenizer: Any, names: list[str], prompts: list[str], tokens: int
) -> dict[str, Any]:
    """The figures of so many adapters."""
    words = {"model": model, "tokenizer": tokenizer, "max_new_tokens": tokens}
    times: list[tuple[float, float]] = []
    for _ in range(PAIRS + 1):
        one, theirs = seconds(lambda: separate(model, tokenizer, names, prompts, tokens))
        many, ours = seconds(lambda: nbpeft.compare(names, prompts, **words))
        times.append((one, many))
    texts = [
        (a, b) for x, y in zip(theirs, ours.answers, strict=True) for a, b in zip(x, y, strict=True)
    ]
    one, many = (statistics.median(column) for column in zip(*times[1:], strict=True))
    return {
        "adapters": len(names),
        "separate_s": round(one, 3),
        "compared_s": round(many, 3),
        "ratio": round(many / one, 3),
        "same": sum(a == b for a, b in texts) / len(texts),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=["tiny", *SHAPES], default="27m")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32)
    asked = parser.parse_args()
    model, tokenizer = model_of(asked.shape)
    names = [plant(model, number) for number in range(max(COUNTS))]
    prompts = [f"{QUESTIONS[i % 4]} {i}" for i in range(asked.prompts)]
    rows = [of_count(model, tokenizer, names[:n], prompts, asked.tokens) for n in COUNTS]
    size = count(sum(p.numel() for p in model.parameters()))
    publish(
        f"compare-{asked.shape}",
        Table(
            title=f"{asked.prompts} prompts, {asked.tokens} new tokens, {size} parameters",
            header=("LoRA adapters", "separate, s", "compared, s", "ratio", "same texts"),
            rows=tuple(
                (str(r["adapters"]), f"{r['separate_s']:.2f}", f"{r['compared_s']:.2f}",
                 f"{r['ratio']:.2f}", f"{r['same']:.0%}")
                for r in rows
            ),
            align=("right",) * 5,
        ),
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
