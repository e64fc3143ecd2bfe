"""How long it takes to attach and detach an adapter of each method on a model of 100M parameters.

usage: python benchmarks/attach.py

A Llama with random weights. Of each method: the median of several attach-and-detach pairs, after
each of which the base must answer bit for bit as before; beside it PEFT's way for LoRA, `unload`
and `get_peft_model` again. One table, with versions and threads below it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

import nbpeft
from nbpeft.errors import NbPeftError
from nbpeft.methods import methods
from nbpeft.recording import library_versions
from nbpeft.rendering import Table, count

PAIRS = 9


def llama() -> LlamaForCausalLM:
    """GPT-2's size in Llama's shape, with biases, so that every method has something to train."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12,
        num_key_value_heads=12, vocab_size=16_384, attention_bias=True, mlp_bias=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def median_ms(act: Callable[[], Any]) -> float:
    """Milliseconds, the median of several; the first, which warms up, is left out."""
    times = []
    for _ in range(PAIRS + 1):
        began = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def of_method(model: Any, name: str, before: torch.Tensor, ids: torch.Tensor) -> tuple[str, str]:
    """(what the adapter holds, milliseconds of a pair)."""
    try:
        nbpeft.attach(name, model=model, method=name)
    except NbPeftError as error:
        return "", str(error)
    held = nbpeft.adapters()[name].trainable_parameters

    def pair() -> None:
        nbpeft.attach(name, model=model)
        nbpeft.attach(None, model=model)

    took = median_ms(pair)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, before), f"{name} changed the base"
    return count(held), f"{took:.1f}"


def of_peft(model: Any) -> str:
    """PEFT's LoRA put in and taken out again."""
    config = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
    return f"{median_ms(lambda: get_peft_model(model, config).unload()):.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.parse_args()
    model, ids = llama(), torch.arange(16).unsqueeze(0)
    with torch.no_grad():
        before = model(ids).logits
    rows = [(name, *of_method(model, name, before, ids)) for name in methods.names()]
    rows.append(("PEFT: lora, get_peft_model and unload", "", of_peft(model)))
    size = count(sum(p.numel() for p in model.parameters()))
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    print(
        Table(
            title=f"attach and detach on {size} parameters",
            header=("method", "its parameters", "ms"),
            rows=tuple(rows),
            align=("left", "right", "right"),
            notes=(f"{versions}; {torch.get_num_threads()} threads",),
        ).text()
    )


if __name__ == "__main__":
    main()
