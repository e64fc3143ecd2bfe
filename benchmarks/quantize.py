"""What it takes to quantize a model in place, and how fast LoRA trains on each precision.

usage: python benchmarks/quantize.py [--shape 400m|1b|8b]

A Llama with random weights, on the GPU if there is one, loaded from a checkpoint in a temporary
folder; in bf16, or in fp32 on CPUs that would emulate bf16. Of each precision: bytes of the base's
weights and their share of those as loaded (the paper's claim for 4 bits: about a quarter of 16-bit
weights, arXiv:2305.14314), the seconds there and back, the
peak of memory on the way above what was held before it, and tokens/s of LoRA (rank 16, all linear
layers), the median of several steps. The way back must give the same logits, bit for bit.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import nbpeft
from nbpeft.precision import AS_LOADED
from nbpeft.precision.layers import compute_dtype
from nbpeft.quiet import quiet
from nbpeft.recording import library_versions
from nbpeft.rendering import Table, bytes_size, count
from nbpeft.session import current

SHAPES = {
    "400m": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 28,
             "num_attention_heads": 16},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
           "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256},
    "8b": {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256},
}  # fmt: skip
"""Of 400M parameters; those of Llama-3.2-1B and Llama-3.1-8B."""
METHODS = {AS_LOADED: "lora", "nf4": "qlora", "int8": "lora8"}
STEPS, ROWS, LENGTH = 3, 2, 64


def load(shape: str, folder: str, device: str) -> Any:
    """The model of that shape, from a checkpoint that is written first."""
    torch.manual_seed(0)
    dtype = compute_dtype(torch.device(device))
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**SHAPES[shape])).to(dtype)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    with quiet():
        model.save_pretrained(folder)
        del model
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()


class Peak:
    """Bytes above what is held now, at most: of the GPU, or of this process."""

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")
        self._before = torch.cuda.memory_allocated() if self._cuda else self._resident("VmRSS")

    def above(self) -> int:
        """So far."""
        now = torch.cuda.max_memory_allocated() if self._cuda else self._resident("VmHWM")
        return max(0, now - self._before)

    def _resident(self, which: str) -> int:
        found = re.search(which + r":\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        return 1024 * int(found[1])


def speed(model: Any, method: str, ids: torch.Tensor) -> float:
    """Tokens a second of LoRA's forward and backward passes and its step, the median."""
    nbpeft.attach("mine", model=model, method=method, rank=16)
    own = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=1e-4)
    times = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if ids.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    nbpeft.attach(None, model=model)
    return ids.numel() / statistics.median(times[1:])


def of_state(model: Any, state: str, ids: torch.Tensor) -> tuple[str, ...]:
    """One row of the table."""
    handle = current().handle(model)
    if state == AS_LOADED:
        held = sum(p.numel() * p.element_size() for p in model.parameters())
        return state, bytes_size(held), "", "", "", "", f"{speed(model, METHODS[state], ids):,.0f}"
    with torch.no_grad():
        before = model(ids).logits
    peak, began = Peak(ids.device.type), time.perf_counter()
    handle.precision.move(model, state)
    there, above = time.perf_counter() - began, peak.above()
    began = time.perf_counter()
    handle.precision.move(model, AS_LOADED)
    back = time.perf_counter() - began
    with torch.no_grad():
        assert torch.equal(model(ids).logits, before), f"{state} changed the base"
    weights = handle.precision.known[state]
    return (
        state,
        bytes_size(weights.quantized),
        f"1/{weights.as_loaded / weights.quantized:.1f}",
        f"{there:.1f}",
        f"{back:.1f}",
        f"+{bytes_size(above)}",
        f"{speed(model, METHODS[state], ids):,.0f}",
    )


def main() -> None:
    """Measure and print."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="1b" if device == "cuda" else "400m")
    shape = parser.parse_args().shape
    with tempfile.TemporaryDirectory() as folder:
        model = load(shape, folder, device)
        ids = torch.randint(0, 32_000, (ROWS, LENGTH), device=device)
        rows = tuple(of_state(model, state, ids) for state in METHODS)
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    size = (
        f"{count(model.num_parameters())} parameters in {str(model.dtype).removeprefix('torch.')}"
    )
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(
        Table(
            title=f"a base of {size}, quantized in place",
            header=("base", "weights", "of loaded", "s there", "s back", "peak", "tokens/s"),
            rows=rows,
            align=("left", *("right",) * 6),
            notes=(f"{where}, {torch.get_num_threads()} threads; {versions}",),
        ).text()
    )


if __name__ == "__main__":
    main()
