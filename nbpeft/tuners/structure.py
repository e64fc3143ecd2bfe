"""Where a transformer's sublayers end and its norms lie, found by structure and not by model type.

A layer is a child of a list of modules that hold attention (the list of decoder or encoder layers).
Its attention ends in the last linear of the attention block, its feed-forward in the last linear
outside attention; both write as wide as the model's residual stream. A mixture of experts ends in
the block around its experts, whose weights are fused in one parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

LINEAR = (nn.Linear, Conv1D)
"""nn.Linear (also quantized) and GPT-2's Conv1D."""

ATTENTION = re.compile("attention|attn", re.IGNORECASE)
KEYS_AND_VALUES = re.compile(
    r"[kv]|[kv]_(proj|lin)|(key|value)(_proj|_layer)?|query_key_value|c_attn|w?qkv(_proj)?|kv_proj",
    re.IGNORECASE,
)
"""Names of the linears that make keys or values; fused ones make the queries, too."""


def linears(root: nn.Module) -> list[str]:
    """Paths of the linear layers."""
    return [path for path, module in root.named_modules() if isinstance(module, LINEAR)]


def last_names(paths: Collection[str]) -> list[str]:
    """What modules are called, each once: 'layers.0.mlp.down_proj' -> 'down_proj'."""
    return list(dict.fromkeys(path.rpartition(".")[2] for path in paths))


def layers(root: nn.Module) -> dict[str, nn.Module]:
    """The layers of every stack, by path."""
    found: dict[str, nn.Module] = {}
    for path, module in root.named_modules():
        inside = any(path.startswith(f"{layer}.") for layer in found)
        if isinstance(module, nn.ModuleList) and not inside:
            children = list(module.named_children())
            if any(next(_attention(child), None) for _, child in children):
                found.update({f"{path}.{name}".lstrip("."): child for name, child in children})
    return found


def attention_outputs(root: nn.Module) -> list[str]:
    """Paths of the projections that end self- and cross-attention."""
    return [
        f"{layer}.{block}.{last}"
        for layer, module in layers(root).items()
        for block, attention in _attention(module)
        if (last := _last(attention, _width(root))) is not None
    ]


def feedforward_outputs(root: nn.Module) -> list[str]:
    """Paths of the projections that end the feed-forward, or of the mixtures of experts."""
    found = []
    for layer, module in layers(root).items():
        experts = [p.rpartition(".")[0] for p, _ in module.named_modules() if _is_experts(p)]
        skipped = [block for block, _ in _attention(module)]
        last = experts[0] if experts else _last(module, _width(root), skipped)
        if last:
            found.append(f"{layer}.{last}")
    return found


def keys_and_values(root: nn.Module) -> list[str]:
    """Paths of the linears in attention that make keys or values."""
    return [
        f"{layer}.{block}.{path}"
        for layer, module in layers(root).items()
        for block, attention in _attention(module)
        for path, inner in attention.named_modules()
        if isinstance(inner, LINEAR) and KEYS_AND_VALUES.fullmatch(path.rpartition(".")[2])
    ]


def norms(root: nn.Module) -> list[str]:
    """Paths of the norm layers that have weights: LayerNorm, LlamaRMSNorm, …"""
    return [
        path
        for path, module in root.named_modules()
        if type(module).__name__.endswith("Norm")
        and any(p is not None for p in module._parameters.values())
    ]


def names_for(root: nn.Module, paths: Collection[str]) -> list[str] | str:
    """The shortest way to tell PEFT just these modules: the ends of their paths, or a pattern."""
    wanted, known = set(paths), [path for path, _ in root.named_modules()]
    for length in (1, 2, 3):
        ends = list(dict.fromkeys(".".join(path.split(".")[-length:]) for path in paths))
        hit = {path for path in known if any(path == e or path.endswith(f".{e}") for e in ends)}
        if hit == wanted and not any(re.search(r"(^|\.)\d", end) for end in ends):
            return ends
    pattern = "|".join(dict.fromkeys(re.sub(r"\b\d+\b", r"\\d+", re.escape(p)) for p in paths))
    exact = {path for path in known if re.fullmatch(pattern, path)} == wanted
    return pattern if exact else list(paths)


def matcher(names: Collection[str] | str | None) -> Callable[[str], bool]:
    """Whether a path is meant by names as PEFT reads them: a list of ends, or a pattern."""
    if isinstance(names, str):
        pattern = re.compile(names)
        return lambda path: pattern.fullmatch(path) is not None
    ends = tuple(names or ())
    return lambda path: any(path == end or path.endswith(f".{end}") for end in ends)


def _attention(layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The topmost modules of a layer that are called attention and hold a linear."""
    taken: list[str] = []
    for path, module in layer.named_modules():
        names = f"{path.rpartition('.')[2]} {type(module).__name__}"
        called = ATTENTION.search(names)
        if not path or not called or any(path.startswith(f"{above}.") for above in taken):
            continue
        if any(isinstance(inner, LINEAR) for inner in module.modules()):
            taken.append(path)
            yield path, module


def _last(block: nn.Module, width: int, skipped: Collection[str] = ()) -> str | None:
    """The path in a block of its last linear as wide as the residual stream."""
    found = [
        path
        for path, module in block.named_modules()
        if isinstance(module, LINEAR)
        and _out(module) == width
        and not any(path == above or path.startswith(f"{above}.") for above in skipped)
    ]
    return found[-1] if found else None


def _is_experts(path: str) -> bool:
    return path.rpartition(".")[2] == "experts"


def _out(linear: nn.Module) -> int:
    return linear.nf if isinstance(linear, Conv1D) else linear.out_features  # type: ignore[return-value]


def _width(root: nn.Module) -> int:
    config: Any = root.config
    return int(config.get_text_config().hidden_size)
