"""Students made of a teacher: some of its layers, or a fresh model of its kind."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.errors import ModelError, RequestError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

TAKEN = "nbpeft_layers"
"""Where a student's config says which of its teacher's layers it has."""
BY_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")
"""Lists of a config with an entry a layer."""


def make_student(
    model: Any,
    layers: int = 2,
    hidden: int | None = None,
    *,
    take: Sequence[int] | None = None,
    seed: int = 42,
) -> PreTrainedModel:
    """A smaller model of the same kind, to be taught: `%distill NAME --teacher X --student Y`.

    Without `hidden` the student begins with some of the teacher's layers, embeddings and output
    layer, as DistilBERT did (Sanh et al. 2019, arXiv:1910.01108). With it, its values are fresh.

    Args:
        model: a causal language model of transformers, or a PeftModel around one, whose adapters
            are left out.
        layers: how many; of the teacher's, evenly from the first to the last.
        hidden: the width of a fresh student. Heads keep their size and become fewer, the
            feed-forward layers narrower in proportion.
        take: which layers of the teacher, counted from 0, in place of `layers`.
        seed: of fresh values; the kernel's random state stays as it is.

    Returns:
        A new model in eval mode, on the teacher's device and in its precision. Nothing of it is
        shared with the teacher.

    Raises:
        RequestError: layers or a width that can't be.
        ModelError: a model whose layers aren't found, or are quantized.
    """
    from nbpeft.session import current

    handle = current().handle(model)
    with handle.bare(handle.precision.home):
        return _made(handle.root, layers, hidden, take, seed)


def _made(
    root: Any, layers: int, hidden: int | None, take: Sequence[int] | None, seed: int
) -> PreTrainedModel:
    import torch

    numbers = _numbers(root, layers, take, fresh=hidden is not None)
    config = _config(root, numbers, hidden)
    first = next(root.parameters())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student: Any = type(root)(config)
    student = student.to(device=first.device, dtype=root.dtype)
    if hidden is None:
        _copy(root, student, numbers)
    student.tie_weights()
    student.generation_config = copy.deepcopy(root.generation_config)
    made: PreTrainedModel = student.eval()
    return made


def _numbers(root: Any, layers: int, take: Sequence[int] | None, *, fresh: bool) -> tuple[int, ...]:
    """Which layers of the teacher the student has, or is as deep as."""
    own = root.config.get_text_config(decoder=True).num_hidden_layers
    if take is not None:
        if fresh:
            raise RequestError("take says which layers are copied, and with hidden none are.")
        numbers = tuple(take)
        if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(own)):
            raise RequestError(
                f"take {list(numbers)} can't be: different layers from 0 to {own - 1} are wanted."
            )
        return numbers
    if layers < 1 or (layers > own and not fresh):
        raise RequestError(f"layers must be from 1 to the teacher's {own}, not {layers}.")
    if layers == 1:
        return (0,)
    return tuple(round(i * (own - 1) / (layers - 1)) for i in range(layers))


def _config(root: Any, numbers: Sequence[int], hidden: int | None) -> Any:
    """The teacher's, with fewer layers and of the width that was asked for."""
    config = copy.deepcopy(root.config)
    text = config.get_text_config(decoder=True)
    own = text.num_hidden_layers
    text.num_hidden_layers = len(numbers)
    for name in BY_LAYER:
        kinds = getattr(text, name, None)
        if isinstance(kinds, list) and len(kinds) == own:
            setattr(text, name, [kinds[number] for number in numbers])
    if hidden is None:
        setattr(config, TAKEN, list(numbers))
        return config
    heads = text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    if hidden < size or hidden % size:
        raise RequestError(
            f"hidden {hidden} can't be: a multiple of the teacher's {size} values a head is wanted."
        )
    _narrowed(text, hidden, hidden // size)
    return config


def _narrowed(text: Any, hidden: int, heads: int) -> None:
    """Width, heads and feed-forward layers in proportion."""
    ratio = hidden / text.hidden_size
    grouped = getattr(text, "num_key_value_heads", None)
    if grouped:
        group = text.num_attention_heads // grouped
        text.num_key_value_heads = heads // group if heads % group == 0 else heads
    for name in ("intermediate_size", "n_inner", "ffn_dim"):
        if getattr(text, name, None):
            setattr(text, name, max(1, round(getattr(text, name) * ratio)))
    text.hidden_size = hidden
    text.num_attention_heads = heads


def _copy(root: Any, student: Any, numbers: Sequence[int]) -> None:
    """The teacher's values where the student has them, layer by layer."""
    import torch

    theirs, mine = layers_of(root), layers_of(student)
    pairs = [(theirs[number], layer) for number, layer in zip(numbers, mine, strict=True)]
    inside = {id(p) for layer in theirs for p in layer.parameters()}
    with torch.no_grad():
        for before, after in pairs:
            _same(before, after)
            after.load_state_dict(before.state_dict())
        own = dict(student.named_parameters()) | dict(student.named_buffers())
        for name, value in (*root.named_parameters(), *root.named_buffers()):
            if id(value) not in inside and name in own and own[name].shape == value.shape:
                own[name].copy_(value)


def layers_of(root: Any) -> nn.ModuleList:
    """A decoder's layers, one after the other."""
    from torch import nn

    depth = root.config.get_text_config(decoder=True).num_hidden_layers
    lists = [m for m in root.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not lists:
        raise ModelError(
            f"The layers of {type(root).__name__} aren't found: make a fresh student with hidden=, "
            "or build one from a config of your own."
        )
    return lists[0]


def _same(before: nn.Module, after: nn.Module) -> None:
    """Refuse layers whose values aren't held as the student's are."""
    shapes = [{n: v.shape for n, v in m.state_dict().items()} for m in (before, after)]
    if shapes[0] != shapes[1]:
        raise ModelError(
            "The teacher's layers don't hold their values as a fresh model's do (they are "
            "quantized): cut the student from a model in full precision, or give hidden=."
        )
