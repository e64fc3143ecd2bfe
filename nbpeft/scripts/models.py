"""The model and the tokenizer of a script: loaded by name, where the kernel's own have one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import architecture_of
from nbpeft.precision.base import AS_LOADED
from nbpeft.scripts.own import OwnError
from nbpeft.scripts.writing import Code, Piece, assigned, literal, names, quoted

if TYPE_CHECKING:
    from nbpeft.prepare import Prepared

FOLDER = "model"
"""Where the notebook's model is written that has no name."""
PACKAGE = Path(__file__).resolve().parents[1]
"""In which the embedded models are no folders of the user's."""
HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Named:
    """The names of a model and its tokenizer, and the lines that write them in the notebook."""

    model: str
    tokenizer: str
    before: tuple[str, ...]


def named(ready: Prepared) -> Named:
    """What the model and the tokenizer are loaded by."""
    root: Any = ready.handle.root
    model, tokenizer = _name_of(root.name_or_path), _name_of(ready.tokenizer.name_or_path)
    before = []
    variable = ready.plan.model if ready.plan.model.isidentifier() else "model"
    if model is None:
        before.append(f"{variable}.save_pretrained({quoted(FOLDER)})")
    if tokenizer is None:
        before.append(f"{ready.request.tokenizer or 'tokenizer'}.save_pretrained({quoted(FOLDER)})")
    return Named(model or FOLDER, tokenizer or FOLDER, tuple(before))


def _name_of(given: Any) -> str | None:
    """A hub id, or a folder of the user's; None for a model that was made in the kernel."""
    if not isinstance(given, str) or not given:
        return None
    path = Path(given)
    if path.exists():
        within = path.resolve().is_relative_to(PACKAGE)
        return None if within else given
    return given if HUB.fullmatch(given) else None


def model_of(ready: Prepared, kind: str, words: Mapping[str, Any]) -> Piece:
    """`model = …`, in the precision that the kernel's has.

    Args:
        kind: of transformers' auto classes.
        words: what it is given beside.

    Raises:
        OwnError: the libraries' trainers don't train such a model as nbpeft does.
    """
    root: Any = ready.handle.root
    if architecture_of(root) != "decoder":
        raise OwnError("encoders and encoder-decoders are trained by trainers of nbpeft's own")
    if ready.handle.adopted:
        raise OwnError("the model is a PeftModel already: how nbpeft trains beside it is its own")
    given: dict[str, Any] = {"dtype": str(root.dtype).removeprefix("torch."), **words}
    imports = names("transformers", kind)
    if type(root).__module__.startswith("transformers_modules"):
        given["trust_remote_code"] = True
    before = after = ""
    if ready.plan.state != AS_LOADED:
        before = f"{_quantized(ready)}\n"
        given["quantization_config"] = Code("quantized")
        imports |= names("transformers", "BitsAndBytesConfig")
        if ready.plan.state != "int8" and next(root.parameters()).device.type == "cpu":
            after = f"\n{UNPACKED}"
    elif ready.handle.precision.loaded != AS_LOADED:
        raise OwnError("the model was loaded quantized: load it without a quantization_config")
    line = assigned("model", f"{kind}.from_pretrained", given, "MODEL")
    return Piece(f"{before}{line}{after}", imports)


UNPACKED = """for layer in model.modules():
    # On some CPUs a forward pass without gradients packs 4-bit weights for a kernel that has no
    # backward: whatever is trained later would get gradients of zero.
    if "support_avx512bf16_for_cpu" in vars(layer):
        layer.support_avx512bf16_for_cpu = False
"""


def _quantized(ready: Prepared) -> str:
    """How the base is quantized, as nbpeft does it in place."""
    from nbpeft.precision.layers import quantizer_for

    config: Any = quantizer_for(ready.handle.root, ready.plan.state).quantization_config  # type: ignore[arg-type]
    if config.load_in_8bit:
        words: dict[str, Any] = {"load_in_8bit": True}
    else:
        words = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": config.bnb_4bit_quant_type,
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": str(config.bnb_4bit_compute_dtype).removeprefix("torch."),
        }
    return assigned("quantized", "BitsAndBytesConfig", words)


def tokenizer_of(ready: Prepared, name: str) -> Piece:
    """`tokenizer = …`."""
    line = f"tokenizer = AutoTokenizer.from_pretrained({name})"
    template = _template(ready)
    return Piece("\n".join(filter(None, [line, template])), names("transformers", "AutoTokenizer"))


def _template(ready: Prepared) -> str:
    """The template that nbpeft writes chats with, where the tokenizer has none."""
    template = ready.rows.rendering.template
    if template is None:
        return ""
    written = literal(template, 0, len("tokenizer.chat_template = "))
    return f"tokenizer.chat_template = {written}  # the tokenizer has none of its own"
